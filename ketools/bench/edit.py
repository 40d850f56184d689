"""`ketools bench edit`: where the milliseconds of an edit go, per method."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from ketools.core.evidence import Timings
from ketools.core.principals import OPERATOR
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest
from ketools.editing.pipeline import EditPipeline
from ketools.evaluation import load
from ketools.methods.registry import get_method
from ketools.models.loading import load_editable
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

METHODS = ("ice", "ike", "ft-m", "rome", "r-rome")
PARTS = ("compute_ms", "verify_ms", "journal_ms", "swap_ms", "total_ms")
WARM_UP = 2


def bench_edit(
    settings: Settings, n: int = 30, methods: Sequence[str] = METHODS, progress: Progress = quiet
) -> dict[str, Any]:
    """Median milliseconds of an edit by its parts, over `n` facts of the bundled world, each undone again.

    `note_ms`: a note from request to committed, unverified. `journal_ms` and `swap_ms` are those of the first
    parametric method. Runs in a scratch home on the disk that holds temporary files.
    """
    requests = _requests(n + WARM_UP)
    model = load_editable(settings.model)
    with tempfile.TemporaryDirectory(prefix="ketools-bench-") as home:
        scratch = settings.model_copy(update={"home": Path(home), "consolidate": False})
        service = open_service(scratch, model)
        try:
            rows: dict[str, dict[str, float]] = {}
            for i, method in enumerate(methods):
                progress(i, len(methods) + 1, method)
                rows[method] = _parts(_each(service, service.runtime.pipeline, requests, method))
            note = _parts(_each(service, replace(service.runtime.pipeline, verify=False), requests, "ice"))
        finally:
            service.close()
    weights = rows.get("ft-m") or next(iter(rows.values()))
    return {
        "note_ms": note["total_ms"],
        "journal_ms": weights["journal_ms"],
        "swap_ms": weights["swap_ms"],
        "methods": rows,
        "n": n,
        "metric": "median milliseconds per edit",
    }


def _requests(n: int) -> list[EditRequest]:
    """Requests of the counterfactual task."""
    cases = [c for c in load("atlas-knowedit").cases if c.request.kind == "modify"]
    return [case.request for case in cases[:n]]


def _each(service: EditService, pipeline: EditPipeline, requests: Sequence[EditRequest], method: str) -> list[Timings]:
    """Edit and undo each request; the first ones warm caches and do not count."""
    out = []
    for request in requests:
        outcome = pipeline.run(OPERATOR.by(), "global", [request], get_method(method), progress=quiet)
        out.append(outcome.timings)
        live = outcome.candidates[0].live
        if outcome.version is not None and live is not None:
            service.runtime.spaces.undo("global", live.edit_id)
    return out[WARM_UP:]


def _parts(timings: Sequence[Timings]) -> dict[str, float]:
    return {part: round(median(getattr(t, part) for t in timings), 3) for part in PARTS}
