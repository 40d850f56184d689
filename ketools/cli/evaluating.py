"""Evaluation and calibration over the real parts: what each method gives on this model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketools.artefacts import content_hash
from ketools.calibration import EditCase as CalibrationCase
from ketools.calibration import atlas_cases, calibrate
from ketools.errors import Refused
from ketools.evaluation import Baseline, EditCase, Summary, evaluate, load
from ketools.layer import BASE, EditLayer, LiveEdit
from ketools.principals import OPERATOR
from ketools.service import EditService, open_service
from ketools.settings import Settings

if TYPE_CHECKING:
    from ketools.jobs import Progress
    from ketools.methods.profile import Profile

Edit = Callable[[EditCase], tuple[EditLayer, float]]


@contextmanager
def scratch_service(settings: Settings) -> Iterator[EditService]:
    """A service with an empty journal that shares the home's profiles and covariances."""
    with tempfile.TemporaryDirectory(prefix="ketools-evaluate-") as folder:
        for shared in ("profiles", "cache"):
            (settings.home / shared).mkdir(parents=True, exist_ok=True)
            (Path(folder) / shared).symlink_to(settings.home.absolute() / shared)
        changed = settings.model_copy(update={"home": Path(folder), "journal": None, "artefacts": None})
        with closing(open_service(changed)) as service:
            yield service


def by_method(service: EditService, method: str) -> Edit:
    """Edits by one method alone, committed whatever comes out: what the method itself gives."""

    def edit(case: EditCase) -> tuple[EditLayer, float]:
        begin = time.perf_counter()
        artefact = service.editor.compute(method, [case.request], BASE)[0]
        ms = 1000 * (time.perf_counter() - begin)
        digest = content_hash(artefact)
        return BASE.with_edits(LiveEdit(case.id, digest, artefact)), ms

    return edit


def by_road(service: EditService) -> Edit:
    """Edits as `auto` does for a user: verified, possibly refused, consolidated when that is as good.

    The time is that until the served model knows; the consolidation behind it does not count.
    """
    numbers = count()

    def edit(case: EditCase) -> tuple[EditLayer, float]:
        space = f"session/evaluate-{next(numbers)}"
        result = service.edit(OPERATOR, case.request, space)
        if result.status != "committed":
            raise Refused(result.reason)
        if result.job_id is not None:
            service.jobs.wait(result.job_id)
        return service.layer(OPERATOR, space)[0], result.timings.total_ms

    return edit


def evaluate_methods(
    settings: Settings, source: str, methods: Sequence[str], n: int | None, record: Path | None, progress: Progress
) -> dict[str, Summary]:
    """Each method on the first `n` cases of a data set, given by name or file."""
    data = load(source)
    cases = data.first(n)
    with scratch_service(settings) as service:
        baseline = Baseline(service.engine)
        edits = {name: by_road(service) if name == "auto" else by_method(service, name) for name in methods}
        return {
            name: evaluate(
                service.engine,
                edit,
                cases,
                _labelled(name, progress),
                injector=service.notes,
                baseline=baseline,
                record=record,
                label=name,
                bad_rows=len(data.bad),
            )
            for name, edit in edits.items()
        }


def calibrate_model(
    settings: Settings, methods: Sequence[str] | None, n: int, budget_s: float, source: str | None, progress: Progress
) -> Profile:
    """Find and store the best configuration of each method for the settings' model."""
    cases = atlas_cases(n) if source is None else [as_calibration(case) for case in load(source).first(n)]
    with scratch_service(settings) as service:
        return calibrate(service.editor, service.engine, cases, methods, progress=progress, budget_s=budget_s)


def as_calibration(case: EditCase) -> CalibrationCase:
    """A benchmark case as a calibration case."""
    locality = tuple(probe for probes in case.locality.values() for probe in probes)
    return CalibrationCase(case.request, (case.direct,), tuple(case.rephrase), locality)


def _labelled(name: str, progress: Progress) -> Progress:
    def report(done: int, total: int, message: str) -> None:
        progress(done, total, f"{name}: {message}")

    return report


def as_json(summaries: dict[str, Summary]) -> dict[str, Any]:
    """The numbers for `--json`."""
    return {"methods": {name: summary.model_dump(mode="json") for name, summary in summaries.items()}}
