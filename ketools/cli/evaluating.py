"""Evaluation and calibration over the real parts: what each method gives on this model."""

from __future__ import annotations

import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ketools.core.errors import Diverged, InvalidRequest, KetoolsError, NotFound, Refused
from ketools.core.principals import OPERATOR
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Kind, Prompt
from ketools.editing.editor import Editor
from ketools.evaluation import (
    Baseline,
    Dataset,
    EditCase,
    EvaluationSetup,
    Summary,
    askable,
    evaluate,
    evaluate_batch,
    evaluate_sequential,
    load,
)
from ketools.evaluation.asking import Lens
from ketools.evaluation.calibration import CalibrationCase, calibrate, known_cases
from ketools.evaluation.origins import Origins, origins
from ketools.evaluation.restoration import Restoration, restoration
from ketools.evaluation.run import BAD_TOLD, CASES, PROTOCOLS, MethodRun, Protocol, Run, label_of
from ketools.evaluation.runner import Checkpoint, Share, asked_of
from ketools.evaluation.sources import source_hash
from ketools.evaluation.weights import changes, hits, mean_hits
from ketools.evaluation.wild import WildEvaluation, WildRun
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.store import content_hash
from ketools.methods.base import MethodConfig
from ketools.methods.notes import NOTE_METHOD
from ketools.methods.registry import AUTO, get_method, methods
from ketools.models.bundled import provider_of
from ketools.models.tracing import lens_says
from ketools.notes import ScopedEngine
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

if TYPE_CHECKING:
    from ketools.methods.profile import Profile

ANALYSED = 8
"""How many changes of weights per method are looked at."""
ANALYSES = ("changes", "hits", "restoration")
TRAIN_CASES = 24
TRAIN_BUDGET_S = 600.0
"""How many cases a method is configured on, and for how long at most."""
TEXTS = 60
"""How many texts the perplexity is over."""
AUTO_SETTINGS = {"parametric", "consolidate", "min_success", "min_locality", "max_leak", "encoder", "encoder_model"}
"""The settings that `auto` edits by."""


@dataclass(frozen=True)
class EvaluationPlan:
    """What to measure. `out`: the folder of the run, resumed when it holds one; `texts`: a file, one text a line.

    `train`: another data set, on whose training split each method is configured first (cross-domain).
    `workers`: how many processes ask, each a share of the cases. `locate`: how many cases' facts are traced.
    """

    data: str = "atlas-knowedit"
    methods: Sequence[str] = ("ice", "ike", "ft-m", "rome", AUTO)
    protocol: Protocol = "single"
    n: int | None = None
    out: Path | None = None
    checkpoints: Sequence[int] = (1, 10, 100)
    texts: Path | None = None
    train: str | None = None
    workers: int = 1
    locate: int = 0


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


@dataclass
class ByMethod:
    """Edits by one method alone, committed whatever comes out: what the method itself gives.

    Keeps the first few changes of weights, for their analysis.
    """

    service: EditService
    method: str
    config: MethodConfig | None = None
    kept: list[tuple[EditLayer, EditCase]] = field(default_factory=list)

    def __call__(self, cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        begin = time.perf_counter()
        made = self.service.runtime.editor.compute(self.method, [case.request for case in cases], layer, self.config)
        ms = 1000 * (time.perf_counter() - begin)
        live = [LiveEdit(case.id, content_hash(one), one) for case, one in zip(cases, made, strict=True)]
        for case, edit in zip(cases, live, strict=True):
            alone = BASE.with_edits(edit)
            if len(self.kept) < ANALYSED and alone.deltas:
                self.kept.append((alone, case))
        return layer.with_edits(*live), ms

    def analysed(self, cases: Sequence[EditCase]) -> list[tuple[EditLayer, EditCase]]:
        """The first few changes of weights; those that a resumed run did not have to make are made for this."""
        known = {case.id for _, case in self.kept}
        for case in cases[:ANALYSED] if get_method(self.method).needs_model else ():
            if len(self.kept) < ANALYSED and case.id not in known:
                with suppress(Refused, Diverged, InvalidRequest):
                    self([case], BASE)
        return self.kept

    @property
    def label(self) -> str:
        """The method as it is configured here."""
        method, editor = get_method(self.method), self.service.runtime.editor
        code = source_hash(method) + (editor.prepared(method, self.config) or "")
        return label_of(self.method, editor.configurations.of(method, self.config), code)


class RoadConfig(BaseModel):
    """What decides how `auto` edits: the settings that it goes by, and how the methods that change weights for it are
    configured."""

    settings: dict[str, Any]
    configs: dict[str, dict[str, Any]]


@dataclass
class ByRoad:
    """Edits as `auto` does for a user: verified, possibly refused, consolidated when that is as good.

    The time is that until the served model knows; the consolidation behind it does not count.
    """

    service: EditService
    numbers: Iterator[int] = field(default_factory=count)
    spaces: dict[str, str] = field(default_factory=dict)

    def __call__(self, cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        space = self.spaces.get(layer.hash) if layer.edits else None
        space = space or f"session/evaluate-{next(self.numbers)}"
        ms, committed, why = 0.0, 0, ""
        for case in cases:
            result = self.service.edits.edit(OPERATOR, case.request, space)
            committed += result.status == "committed"
            why = result.reason if result.status != "committed" else why
            if result.job_id is not None:
                self.service.jobs.wait(result.job_id)
            ms += result.timings.total_ms
        if not committed:
            raise Refused(why)
        made = self.service.asking.layer(OPERATOR, space)[0]
        self.spaces[made.hash] = space
        return made, ms

    @property
    def label(self) -> str:
        """`auto` as it is configured here."""
        settings = self.service.settings.model_dump(mode="json", include=AUTO_SETTINGS)
        used = [get_method(name) for name in sorted({self.service.edits.parametric(kind) for kind in Kind})]
        configs = {
            method.name: self.service.runtime.editor.configurations.of(method).model_dump(mode="json")
            for method in used
        }
        sources = "".join(map(source_hash, (get_method(NOTE_METHOD), *used)))
        sources += "".join(self.service.runtime.editor.prepared(method) or "" for method in used)
        return label_of(AUTO, RoadConfig(settings=settings, configs=configs), sources)


def run_plan(settings: Settings, plan: EvaluationPlan, progress: Progress) -> Run:
    """Each method on the first `n` cases of a data set, given by name or file.

    Raises `NotFound` for an unknown method or data set, and what the engine raises.
    """
    if plan.workers > 1:
        return _run_shared(settings, plan, progress)
    with _prepared(settings, plan, progress) as (data, service, bench, edits):
        run = Run(
            data=data.source,
            train=plan.train,
            protocol=plan.protocol,
            model_name=bench.engine.model_name,
            model_hash=bench.engine.model_hash,
            engine=settings.measured_on,
            bad=tuple(map(str, data.bad[:BAD_TOLD])),
            methods={},
            cases=asked_of(data.first(plan.n), plan.protocol),
            origins=_origins(service, data, plan.locate, progress) if plan.locate else None,
        )
        earlier = _earlier(run, plan.out)
        for name, edit in edits.items():
            made = _method_run(bench, edit, data, plan, _labelled(name, progress), earlier.get(edit.label))
            run = run.model_copy(update={"methods": {**run.methods, name: made}})
            if plan.out:
                run.write(plan.out)
    return run


def run_wild(settings: Settings, plan: EvaluationPlan, progress: Progress) -> list[WildRun]:
    """Each method on the first `n` cases of a data set, asked in the wild; see `ketools.evaluation.wild`."""
    data, names = load(plan.data), _names(plan)
    if plan.protocol == "batch":
        raise InvalidRequest("--asking wild measures single and sequential edits; choose one of them.")
    if plan.out:
        plan.out.mkdir(parents=True, exist_ok=True)
    record = plan.out / "answers.jsonl" if plan.out else None
    with scratch_service(settings) as service:
        evaluation = WildEvaluation(
            ScopedEngine(service.runtime.engine, service.runtime.notes), data.first(plan.n), record
        )
        return [
            evaluation.run(name, _edit(service, name, plan, _labelled(name, progress)), plan.protocol, progress)
            for name in names
        ]


def _origins(service: EditService, data: Dataset, n: int, progress: Progress) -> Origins | None:
    """Of `n` cases of the whole data set."""
    return origins(service.runtime.editor, askable(data, service.runtime.engine).first(None), n, progress)


def _earlier(run: Run, out: Path | None) -> dict[str, MethodRun]:
    """By label, what an earlier run of the same cases has in the folder; its analyses need not be made again."""
    try:
        found = Run.read(out) if out else None
    except InvalidRequest:  # none, or of another version
        return {}
    same = ("model_hash", "engine", "protocol", "cases")
    if found is None or any(getattr(found, name) != getattr(run, name) for name in same):
        return {}
    return {method.label: method for method in found.methods.values()}


@contextmanager
def _prepared(
    settings: Settings, plan: EvaluationPlan, progress: Progress, share: Share | None = None
) -> Iterator[tuple[Dataset, EditService, EvaluationSetup, dict[str, ByRoad | ByMethod]]]:
    """The data, what edits, where it is measured, how each method edits; with a share, no texts for perplexity."""
    data, names = load(plan.data), _names(plan)
    with scratch_service(settings) as service:
        data = askable(data, service.runtime.engine, plan.n)
        baseline = Baseline(service.runtime.engine, settings.home / "cache" / "evaluation")
        whole = plan.protocol != "single" and share is None
        texts = _texts(plan, service.runtime.engine.model_hash, data.first(plan.n)) if whole else ()
        record = plan.out / CASES if plan.out else None
        if plan.out:
            plan.out.mkdir(parents=True, exist_ok=True)
        lens = _lens(service.runtime.editor)
        bench = EvaluationSetup(
            service.runtime.engine,
            baseline,
            service.runtime.notes,
            record,
            texts,
            share or Share(),
            settings.measured_on,
            lens,
        )
        yield data, service, bench, {name: _edit(service, name, plan, _labelled(name, progress)) for name in names}


def _lens(editor: Editor) -> Lens:
    """Reads the blocks of the editor's copy of the model, which has the weights that are served."""

    def leaked(prompt: Prompt, secret: str, layer: EditLayer) -> bool:
        with editor.model() as em, em.switch.use(layer):
            return any(lens_says(em, prompt, secret))

    return leaked


def _names(plan: EvaluationPlan) -> list[str]:
    if not plan.methods:
        raise InvalidRequest(f"Name at least one method: {', '.join((AUTO, *methods()))}, or all.")
    if plan.protocol not in PROTOCOLS:
        raise NotFound("protocol", plan.protocol, PROTOCOLS)
    names = list(methods()) if list(plan.methods) == ["all"] else list(plan.methods)
    for name in names:
        if name not in (*methods(), AUTO):
            raise NotFound("method", name, (AUTO, *methods()))
    return names


# --- several processes ---


def _run_shared(settings: Settings, plan: EvaluationPlan, progress: Progress) -> Run:
    """Processes ask a share of the cases each, into one record; then this one resumes that run as any other.

    What a process has left undone, because it failed, is done here, where its error is told.
    """
    _names(plan)
    if plan.train:
        raise InvalidRequest("--train configures each method anew, within a time; leave --workers out with it.")
    if settings.engine == "vllm" and not settings.urls:
        raise InvalidRequest("Workers share vLLM servers that run already: name them with --url, or use one worker.")
    with tempfile.TemporaryDirectory(prefix="ketools-evaluate-") as folder:
        shared = replace(plan, out=plan.out or Path(folder), workers=1)
        _ask_in_processes(settings, shared, plan.workers, progress)
        return run_plan(settings, shared, progress)


def _ask_in_processes(settings: Settings, plan: EvaluationPlan, workers: int, progress: Progress) -> None:
    """Wait for the workers; they end with this process, or when `progress` raises."""
    spawn = multiprocessing.get_context("spawn")
    urls = settings.urls.split(",")
    threads = settings.threads or max((os.cpu_count() or 1) // workers, 1)
    started = []
    try:
        for i in range(workers):
            own = settings.model_copy(update={"urls": urls[i % len(urls)], "threads": threads})
            process = spawn.Process(target=ask_share, args=(own, plan, Share(i, workers)), daemon=True)
            process.start()
            started.append(process)
        while going := sum(process.is_alive() for process in started):
            progress(workers - going, workers, f"{going} processes are asking")
            time.sleep(0.2)
    finally:
        for process in started:
            process.terminate()
            process.join()


def ask_share(settings: Settings, plan: EvaluationPlan, share: Share) -> None:
    """What a worker does: its share of the cases, by every method, into the plan's record."""
    with suppress(KetoolsError), _prepared(settings, plan, quiet, share) as (data, _, bench, edits):
        for edit in edits.values():
            _measured(bench, edit, data, plan, quiet)


# --- one method ---


def _edit(service: EditService, name: str, plan: EvaluationPlan, progress: Progress) -> ByRoad | ByMethod:
    """How a method edits; one that has a configuration to search is configured on the plan's training data."""
    if name == AUTO:
        return ByRoad(service)
    method = get_method(name)
    if plan.train is None or not method.search:
        return ByMethod(service, name)
    train = askable(load(plan.train, "train"), service.runtime.engine, TRAIN_CASES)
    cases = [as_calibration(case) for case in train.first(TRAIN_CASES)]
    options = {"progress": progress, "budget_s": TRAIN_BUDGET_S, "store": False}
    profile = calibrate(service.runtime.editor, service.runtime.engine, cases, [name], **options)  # type: ignore[arg-type]
    return ByMethod(service, name, profile.config_for(method))


def _method_run(
    bench: EvaluationSetup,
    edit: ByRoad | ByMethod,
    data: Dataset,
    plan: EvaluationPlan,
    progress: Progress,
    earlier: MethodRun | None,
) -> MethodRun:
    summary, points = _measured(bench, edit, data, plan, progress)
    told = {name: getattr(earlier, name) for name in ANALYSES} if earlier else _analyses(bench, edit, data, plan)
    return MethodRun(**dict(summary), label=edit.label, checkpoints=tuple(points), **told)


def _analyses(bench: EvaluationSetup, edit: ByRoad | ByMethod, data: Dataset, plan: EvaluationPlan) -> dict[str, Any]:
    """Figures 6, 7 and 10 of the survey, of the first few changes of weights."""
    kept = edit.analysed(data.first(plan.n)) if isinstance(edit, ByMethod) else []
    with edit.service.runtime.editor.model() as em:
        found = [hits(em, layer, case.request.target_new) for layer, case in kept]
        return {
            "changes": tuple(changes(em, kept[0][0])) if kept else (),
            "hits": mean_hits([h for h in found if h is not None]),
            "restoration": _restored(bench, kept),
        }


def _measured(
    bench: EvaluationSetup, edit: ByRoad | ByMethod, data: Dataset, plan: EvaluationPlan, progress: Progress
) -> tuple[Summary, list[Checkpoint]]:
    """What the plan's protocol gives: a summary, and the checkpoints of a batch or a sequence."""
    cases, label, bad = data.first(plan.n), edit.label, len(data.bad)
    if plan.protocol == "single":
        return evaluate(bench, edit, cases, progress, label=label, bad_rows=bad), []
    if plan.protocol == "batch":
        points = [evaluate_batch(bench, edit, cases, progress, label=label, bad_rows=bad)]
    else:
        stops = plan.checkpoints
        points = evaluate_sequential(bench, edit, cases, progress, checkpoints=stops, label=label, bad_rows=bad)
    return points[-1].summary, points


def _restored(bench: EvaluationSetup, kept: Sequence[tuple[EditLayer, EditCase]]) -> Restoration | None:
    """All the kept edits together, taken off again."""
    whole = EditLayer(tuple(edit for layer, _ in kept for edit in layer.edits))
    return restoration(bench.engine, bench.baseline, whole, [case for _, case in kept])


def _texts(plan: EvaluationPlan, model_hash: str, cases: Sequence[EditCase]) -> list[str]:
    """Texts for perplexity: those given, else for the bundled model statements of the world it was trained on.

    No statement of a fact that is edited: that one is meant to change.
    """
    if plan.texts is not None:
        if not plan.texts.is_file():
            raise InvalidRequest(f"There is no file {plan.texts}; give a text file with one text a line.")
        return [line for line in plan.texts.read_text(encoding="utf-8").splitlines() if line.strip()][:TEXTS]
    known = provider_of(model_hash)
    if known is None:
        return []
    from ketools.knowledge.relations import RELATIONS

    edited = {(case.request.subject, case.request.relation) for case in cases}
    facts = sorted(known.facts().items())
    random.Random("texts for perplexity").shuffle(facts)
    facts = [fact for fact in facts if fact[0] not in edited]
    told = [f"{RELATIONS[relation].cloze[0].format(s=subject)} {target}." for (subject, relation), target in facts]
    return [text for text in told if len(text.split(" ")) > 5][:TEXTS]


def calibrate_model(
    settings: Settings, methods: Sequence[str] | None, n: int, budget_s: float, source: str | None, progress: Progress
) -> Profile:
    """Find and store the best configuration of each method for the settings' model."""
    data = load(source) if source else None
    with scratch_service(settings) as service:
        found = askable(data, service.runtime.engine, n).first(n) if data else None
        cases = known_cases(n) if found is None else list(map(as_calibration, found))
        return calibrate(
            service.runtime.editor, service.runtime.engine, cases, methods, progress=progress, budget_s=budget_s
        )


def as_calibration(case: EditCase) -> CalibrationCase:
    """A benchmark case as a calibration case."""
    locality = tuple(probe for probes in case.locality.values() for probe in probes)
    return CalibrationCase(case.request, (case.direct,), tuple(case.rephrase), locality)


def _labelled(name: str, progress: Progress) -> Progress:
    def report(done: int, total: int, message: str) -> None:
        progress(done, total, f"{name}: {message}")

    return report
