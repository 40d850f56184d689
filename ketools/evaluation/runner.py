"""The protocols: single edits, a batch, and a sequence with checkpoints.

Single: each case is edited from the base model, asked, and taken off again. Batch: all cases are edited at once.
Sequential: one case after the other, each on top of those before; at a checkpoint everything so far is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from ketools.core.errors import Diverged, InvalidRequest, Refused
from ketools.core.footprint import watched
from ketools.core.progress import Progress, quiet
from ketools.engines.base import Engine, Score
from ketools.evaluation import metrics
from ketools.evaluation.asking import Asker, EditedCase, Lens, Making
from ketools.evaluation.baseline import Baseline
from ketools.evaluation.cases import EditCase, digest_of
from ketools.evaluation.results import CaseResult, Record, Summary, record_key, summarise
from ketools.knowledge.scope import Scope
from ketools.layers.composition import BASE, EditLayer
from ketools.notes import NoteInjector
from ketools.retrieval import MiniLMEncoder

Edit = Callable[[Sequence[EditCase], EditLayer], tuple[EditLayer, float]]
"""Edits cases on top of a layer: the layer with the edits, and how long it took in ms.

It may raise `Refused`, `Diverged` or `InvalidRequest` (a kind of edit that a method cannot do): the cases that the
error is about then count as edited without effect.
"""

_NOT_MADE = (Refused, Diverged, InvalidRequest)

FLUENCY_EVERY = 5
"""Fluency is measured on every fifth case: it costs more than everything else together."""

ASKED_TOGETHER = 16
"""How many cases under one change of weights share a batch."""


T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """One of `parts` equal shares of the cases, counted from 0: what one of several processes asks."""

    part: int = 0
    parts: int = 1

    def of(self, items: Sequence[T]) -> Sequence[T]:
        """Every `parts`-th item, from the `part`-th on."""
        return items[self.part :: self.parts]


@dataclass(frozen=True)
class EvaluationSetup:
    """Where edits are measured.

    `baseline`: what the untouched model says, asked once for all methods. `injector`: puts the notes of a layer into
    prompts. `record`: a JSON-lines file to which each case is appended; cases that it holds already, unchanged, for
    a label, a protocol, this model and this kind of engine are not asked again. `texts`: texts for perplexity.
    `share`: which cases are asked here; summaries are over those that have been asked, here or earlier.
    `lens`: what reads a secret off the model's blocks; without, `leak_lens` is not measured.
    """

    engine: Engine
    baseline: Baseline
    injector: NoteInjector = field(default_factory=lambda: NoteInjector(encoder=MiniLMEncoder(), scope=Scope()))
    record: Path | None = None
    texts: Sequence[str] = ()
    share: Share = Share()
    kind: str = "local"
    lens: Lens | None = None

    def asker(self) -> Asker:
        """What asks and judges here."""
        return Asker(self.engine, self.injector, self.baseline, self.lens)

    def log(self, label: str, protocol: str) -> Record[CaseResult]:
        """The record of one method under one protocol."""
        return Record(self.record, record_key(self.engine.model_hash, self.kind, label, protocol), CaseResult)


def evaluate(
    bench: EvaluationSetup,
    edit: Edit,
    cases: Sequence[EditCase],
    progress: Progress = quiet,
    *,
    label: str = "",
    bad_rows: int = 0,
) -> Summary:
    """Edit each case by itself from the base model and measure what changed.

    Raises what the engine and `edit` raise, except for what an `Edit` may.
    """
    log, asked = bench.log(label, "single"), asked_of(cases, "single")
    done = _known(log, asked)
    asker = bench.asker()
    missing = {case.id for case in bench.share.of(cases)} - done.keys()
    _prepare(asker, [case for case in cases if case.id in missing], cases, progress)
    for result in _singly(asker, edit, cases, missing, progress):
        done[result.id] = result.model_copy(update={"asked": asked[result.id]})
        log.append(done[result.id])
    return summarise([done[case.id] for case in cases if case.id in done], bad_rows=bad_rows)


def asked_of(cases: Sequence[EditCase], protocol: str) -> dict[str, str]:
    """By case the hash of all that its answers depend on: itself, or every case that is edited with it."""
    together = "" if protocol == "single" else digest_of(cases)
    return {case.id: together or case.digest for case in cases}


def _known(log: Record[CaseResult], asked: Mapping[str, str]) -> dict[str, CaseResult]:
    """What a record holds of these cases, as they are now."""
    return {result.id: result for result in log.read() if asked.get(result.id) == result.asked}


def _prepare(asker: Asker, missing: Sequence[EditCase], cases: Sequence[EditCase], progress: Progress) -> None:
    wanted = {case.id for case in missing}
    asker.baseline.prepare(missing, progress)
    asker.baseline.prepare_texts([case for case in cases[::FLUENCY_EVERY] if case.id in wanted])


def _singly(
    asker: Asker, edit: Edit, cases: Sequence[EditCase], missing: set[str], progress: Progress
) -> Iterator[CaseResult]:
    """Cases whose edit changes no weights are asked together, because only their prompts differ."""
    waiting: list[EditedCase] = []
    for i, case in enumerate(cases):
        progress(i, len(cases), f"case {case.id}")
        if case.id not in missing:
            continue
        edited = _edited(i, case, *_attempt(edit, [case], BASE))
        if edited.layer.deltas:
            yield from _asked(asker, [edited])
            continue
        waiting.append(edited)
        if len(waiting) == ASKED_TOGETHER:
            yield from _asked(asker, waiting)
            waiting = []
    if waiting:
        yield from _asked(asker, waiting)
    progress(len(cases), len(cases), "done")


def _asked(asker: Asker, edited: Sequence[EditedCase]) -> list[CaseResult]:
    """Ask cases together. One whose notes leave no room for its prompts counts as an edit without effect."""
    try:
        return asker.ask(edited)
    except InvalidRequest as error:
        if len(edited) > 1:
            return [result for one in edited for result in _asked(asker, [one])]
        if not edited[0].layer.notes:
            raise
        making = replace(edited[0].making, failed=str(error))
        return asker.ask([replace(edited[0], layer=BASE, making=making)])


def _attempt(edit: Edit, cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, Making]:
    """The layer after an edit, and how it was made."""
    try:
        return _made(edit, cases, layer)
    except _NOT_MADE as error:
        return layer, Making(failed=str(error))


def _made(edit: Edit, cases: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, Making]:
    """Cases edited together: the time of each is an equal share, the memory that of all."""
    with watched() as footprint:
        after, ms = edit(cases, layer)
    return after, Making(ms / len(cases), footprint.mb)


def _attempt_all(edit: Edit, cases: Sequence[EditCase]) -> tuple[EditLayer, Making, dict[str, str]]:
    """The layer after a batch, how its edits were made, and by case why it is not among them."""
    left, failed = list(cases), dict[str, str]()
    while left:
        try:
            layer, making = _made(edit, left, BASE)
        except _NOT_MADE as error:
            gone = [left[i].id for i in error.which] or [case.id for case in left]
            failed |= dict.fromkeys(gone, str(error))
            left = [case for case in left if case.id not in failed]
        else:
            return layer, making, failed
    return BASE, Making(), failed


# --- many edits at once, or one after the other ---


class Checkpoint(BaseModel):
    """Everything edited so far, asked under the layer that holds all of it.

    `edits`: how many. `perplexity`, `perplexity_before`: of the bench's texts under the layer and without it (lower is
    better), over `tokens` tokens; None without texts.
    """

    model_config = ConfigDict(frozen=True)

    edits: int
    summary: Summary
    perplexity: float | None = None
    perplexity_before: float | None = None
    tokens: int = 0


def evaluate_batch(
    bench: EvaluationSetup,
    edit: Edit,
    cases: Sequence[EditCase],
    progress: Progress = quiet,
    *,
    label: str = "",
    bad_rows: int = 0,
) -> Checkpoint:
    """Edit all cases at once and measure them under the one layer.

    The time of an edit is an equal share, its memory the batch's. It is made without the cases that it fails about.
    """
    progress(0, len(cases), f"editing {len(cases)} cases")
    layer, making, failed = _attempt_all(edit, cases)
    edited = [
        _edited(i, case, layer, Making(failed=failed[case.id]) if case.id in failed else making)
        for i, case in enumerate(cases)
    ]
    return _checkpoint(bench, edited, label, f"batch/{len(cases)}", bad_rows, progress)


def evaluate_sequential(
    bench: EvaluationSetup,
    edit: Edit,
    cases: Sequence[EditCase],
    progress: Progress = quiet,
    *,
    checkpoints: Sequence[int] = (1, 10, 100),
    label: str = "",
    bad_rows: int = 0,
) -> list[Checkpoint]:
    """Edit one case after the other and measure all so far at each checkpoint; the last case is always one.

    A run that is resumed makes the edits again, which is the same computation, and asks only what is missing.
    Raises `InvalidRequest` for a checkpoint below 1.
    """
    if any(n < 1 for n in checkpoints):
        raise InvalidRequest("A checkpoint is a number of edits, at least 1.")
    stops = {min(n, len(cases)) for n in (*checkpoints, len(cases))}
    layer, made, found = BASE, list[Making](), []
    for i, case in enumerate(cases):
        progress(i, len(cases), f"case {case.id}")
        layer, making = _attempt(edit, [case], layer)
        made.append(making)
        if i + 1 in stops:
            edited = [_edited(j, cases[j], layer, making) for j, making in enumerate(made)]
            found.append(_checkpoint(bench, edited, label, f"sequential/{i + 1}", bad_rows, progress))
    return found


def _edited(i: int, case: EditCase, layer: EditLayer, making: Making) -> EditedCase:
    return EditedCase(case, layer, making, fluent=i % FLUENCY_EVERY == 0)


def _checkpoint(
    bench: EvaluationSetup, edited: Sequence[EditedCase], label: str, protocol: str, bad_rows: int, progress: Progress
) -> Checkpoint:
    log, asked = bench.log(label, protocol), asked_of([e.case for e in edited], protocol)
    done = _known(log, asked)
    missing = [e for e in bench.share.of(edited) if e.case.id not in done]
    asker = bench.asker()
    _prepare(asker, [e.case for e in missing], [e.case for e in edited], progress)
    for i in range(0, len(missing), ASKED_TOGETHER):
        progress(i, len(missing), f"asking after {len(edited)} edits")
        for result in _asked(asker, missing[i : i + ASKED_TOGETHER]):
            done[result.id] = result.model_copy(update={"asked": asked[result.id]})
            log.append(done[result.id])
    before, after = (score_texts(bench.engine, bench.texts, layer) for layer in (BASE, edited[0].layer))
    return Checkpoint(
        edits=len(edited),
        summary=summarise([done[e.case.id] for e in edited if e.case.id in done], bad_rows=bad_rows),
        perplexity=metrics.perplexity(after),
        perplexity_before=metrics.perplexity(before),
        tokens=sum(len(score.logprobs) for score in after),
    )


def score_texts(engine: Engine, texts: Sequence[str], layer: EditLayer) -> list[Score]:
    """Scores of each text's words after its first three; texts of fewer than six words are left out."""
    parts = [text.split(" ") for text in texts]
    pairs = [(" ".join(words[:3]), " ".join(words[3:])) for words in parts if len(words) > 5]
    return engine.score([one for one, _ in pairs], [rest for _, rest in pairs], layer) if pairs else []
