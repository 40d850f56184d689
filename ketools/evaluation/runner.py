"""Runs the single-edit protocol: each case is edited from the base model, asked, and taken off again.

Everything that is asked about a case goes to the engine as one batch; cases whose edit changes no weights are
asked together, because only their prompts differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ketools.edits import REFUSAL, EditRequest, Kind, Prompt
from ketools.engines.base import Engine, Score
from ketools.errors import Diverged, Refused
from ketools.evaluation import metrics
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.results import Answer, CaseResult, Group, Record, Summary, summarise
from ketools.layer import BASE, EditLayer
from ketools.notes import NoteInjector
from ketools.relations import RELATIONS
from ketools.retrieval import MiniLMEncoder

Edit = Callable[[EditCase], tuple[EditLayer, float]]
"""Edits one case from the base model: the layer with the edit, and how long it took in ms.

It may raise `Refused` or `Diverged`: the case then counts as edited without effect.
"""

Progress = Callable[[int, int, str], None]

ANSWER_TOKENS = 24
FLUENCY_TOKENS = 100
FLUENCY_EVERY = 5
"""Fluency is measured on every fifth case: it costs more than everything else together."""

ASKED_TOGETHER = 16
"""How many cases without a change of weights share a batch."""

WITHHELD = "[withheld]"
"""Stands in results for an answer that holds what was to be erased."""


def _silent(done: int, total: int, message: str) -> None:
    return None


class Baseline:
    """Greedy answers of the untouched model: generated once, shared by all methods of a run."""

    def __init__(self, engine: Engine, max_new_tokens: int = ANSWER_TOKENS) -> None:
        self._engine = engine
        self._max_new_tokens = max_new_tokens
        self._answers: dict[tuple[str, bool], str] = {}
        self._scores: dict[tuple[str, bool], Score] = {}
        self._texts: dict[str, str] = {}

    def prepare(self, cases: Sequence[EditCase], progress: Progress = _silent) -> None:
        """Answer everything that will be compared with its answer before the edit."""
        asked = [p for c in cases for p in (c.direct, *(p for group in c.locality.values() for p in group))]
        missing = list(dict.fromkeys((p.prompt, p.chat) for p in asked if (p.prompt, p.chat) not in self._answers))
        for start in range(0, len(missing), 256):
            keys = missing[start : start + 256]
            prompts = [CaseProbe(prompt=text, chat=chat).rendered() for text, chat in keys]
            answers = self._engine.generate(prompts, BASE, max_new_tokens=self._max_new_tokens)
            said = [i for i, answer in enumerate(answers) if answer.strip()]
            scores = self._engine.score([prompts[i] for i in said], [answers[i] for i in said], BASE)
            self._answers.update(zip(keys, answers, strict=True))
            self._scores.update(zip([keys[i] for i in said], scores, strict=True))
            progress(start + len(keys), len(missing), "answers before the edits")

    def prepare_texts(self, cases: Sequence[EditCase]) -> None:
        """Write the longer texts whose fluency will be compared."""
        starts = dict.fromkeys(start for case in cases if (start := passage(case.request)))
        missing = [start for start in starts if start not in self._texts]
        texts = self._engine.generate(missing, BASE, max_new_tokens=FLUENCY_TOKENS) if missing else []
        self._texts.update(zip(missing, texts, strict=True))

    def fluency(self, case: EditCase) -> float | None:
        """The fluency of the untouched model's text about the case's subject, where one was prepared."""
        text = self._texts.get(passage(case.request) or "")
        return None if text is None else metrics.fluency(text)

    def answer(self, probe: CaseProbe) -> str:
        """The answer to a probe of a prepared case."""
        return self._answers[probe.prompt, probe.chat]

    def score(self, probe: CaseProbe) -> Score:
        """The score of that answer, which must not be empty."""
        return self._scores[probe.prompt, probe.chat]


@dataclass(frozen=True)
class _Edited:
    """A case with its layer, waiting to be asked."""

    case: EditCase
    layer: EditLayer
    ms: float
    failed: str
    fluent: bool

    def questions(self) -> Iterator[tuple[Group, CaseProbe]]:
        case = self.case
        yield "success", case.direct
        for probe in case.rephrase:
            yield "rephrase", probe
        for probes in case.portability.values():
            for probe in probes:
                yield "portability", probe
        for probes in case.locality.values():
            for probe in probes:
                yield "locality", probe


def evaluate(
    engine: Engine,
    edit: Edit,
    cases: Sequence[EditCase],
    progress: Progress = _silent,
    *,
    injector: NoteInjector | None = None,
    baseline: Baseline | None = None,
    record: Path | None = None,
    label: str = "",
    bad_rows: int = 0,
) -> Summary:
    """Edit each case by itself from the base model and measure what changed.

    `injector`: puts the notes of a layer into prompts (default: one with the packaged encoder).
    `baseline`: give the same one to several calls, and the untouched model is asked only once.
    `record`: a JSON-lines file to which each case is appended; cases that it holds already for this `label` and
    this model are not run again. Raises what the engine and `edit` raise, `Refused` and `Diverged` excepted.
    """
    baseline = baseline or Baseline(engine)
    log = Record(record, f"{engine.model_hash}/{label}", CaseResult)
    done = {result.id: result for result in log.read()}
    baseline.prepare([case for case in cases if case.id not in done], progress)
    baseline.prepare_texts([case for case in cases[::FLUENCY_EVERY] if case.id not in done])
    asker = _Asker(engine, injector or NoteInjector(encoder=MiniLMEncoder()), baseline)
    for result in _results(asker, edit, cases, done, progress):
        log.append(result)
        done[result.id] = result
    return summarise([done[case.id] for case in cases], bad_rows=bad_rows)


def _results(
    asker: _Asker, edit: Edit, cases: Sequence[EditCase], done: dict[str, CaseResult], progress: Progress
) -> Iterator[CaseResult]:
    waiting: list[_Edited] = []
    for i, case in enumerate(cases):
        progress(i, len(cases), f"case {case.id}")
        if case.id in done:
            continue
        edited = _edited(edit, case, fluent=i % FLUENCY_EVERY == 0)
        if edited.layer.deltas:
            yield from asker.ask([edited])
            continue
        waiting.append(edited)
        if len(waiting) == ASKED_TOGETHER:
            yield from asker.ask(waiting)
            waiting = []
    if waiting:
        yield from asker.ask(waiting)
    progress(len(cases), len(cases), "done")


def _edited(edit: Edit, case: EditCase, fluent: bool) -> _Edited:
    try:
        layer, ms = edit(case)
    except (Refused, Diverged) as error:
        return _Edited(case, BASE, 0.0, str(error), fluent)
    return _Edited(case, layer, ms, "", fluent)


@dataclass(frozen=True)
class _Asker:
    """Asks the engine everything about some edited cases, which must agree on the change of weights."""

    engine: Engine
    injector: NoteInjector
    baseline: Baseline

    def ask(self, edited: Sequence[_Edited]) -> list[CaseResult]:
        """Results of cases that share a batch."""
        layer = edited[0].layer
        questions = [list(e.questions()) for e in edited]
        prompts = [self._prompt(p, e) for e, asked in zip(edited, questions, strict=True) for _, p in asked]
        answers = iter(self.engine.generate(prompts, layer, max_new_tokens=ANSWER_TOKENS))
        targets = [self._target(e, g, p) for e, asked in zip(edited, questions, strict=True) for g, p in asked]
        scores = iter(self._scores(prompts, targets, layer))
        texts = self._texts(edited, layer)
        return [
            self._result(e, asked, [next(answers) for _ in asked], [next(scores) for _ in asked], texts[i])
            for i, (e, asked) in enumerate(zip(edited, questions, strict=True))
        ]

    def _prompt(self, probe: CaseProbe, edited: _Edited) -> Prompt:
        return self.injector.inject(probe.rendered(), edited.layer.notes).prompt

    def _target(self, edited: _Edited, group: Group, probe: CaseProbe) -> str:
        """What to score after a prompt; empty for nothing."""
        if group == "locality":
            return self.baseline.answer(probe)
        return wanted(edited.case.request, probe) if group in ("success", "rephrase") else ""

    def _scores(self, prompts: Sequence[Prompt], targets: Sequence[str], layer: EditLayer) -> list[Score | None]:
        chosen = [i for i, target in enumerate(targets) if target.strip()]
        found = self.engine.score([prompts[i] for i in chosen], [targets[i] for i in chosen], layer)
        out: list[Score | None] = [None] * len(prompts)
        for i, score in zip(chosen, found, strict=True):
            out[i] = score
        return out

    def _texts(self, edited: Sequence[_Edited], layer: EditLayer) -> list[str | None]:
        """Longer texts about the subjects of the chosen cases, for fluency."""
        starts = [passage(e.case.request) if e.fluent else None for e in edited]
        chosen = [i for i, start in enumerate(starts) if start]
        out: list[str | None] = [None] * len(edited)
        if chosen:
            prompts = [self._prompt(CaseProbe(prompt=starts[i] or "", chat=False), edited[i]) for i in chosen]
            texts = self.engine.generate(prompts, layer, max_new_tokens=FLUENCY_TOKENS)
            for i, text in zip(chosen, texts, strict=True):
                out[i] = text
        return out

    def _result(
        self,
        edited: _Edited,
        asked: Sequence[tuple[Group, CaseProbe]],
        answers: Sequence[str],
        scores: Sequence[Score | None],
        text: str | None,
    ) -> CaseResult:
        case = edited.case
        judged = [self._judged(case, *pair, answer) for pair, answer in zip(asked, answers, strict=True)]
        scored = [(group, probe, s) for (group, probe), s in zip(asked, scores, strict=True) if s is not None]
        direct = [s for group, _, s in scored if group == "success"]
        others = [s for group, _, s in scored if group == "rephrase"]
        same = [metrics.same_tokens(self.baseline.score(p), s) for group, p, s in scored if group == "locality"]
        return CaseResult(
            id=case.id,
            task=case.task,
            kind=case.request.kind,
            ms=edited.ms,
            failed=edited.failed,
            before=metrics.achieves(case.request, self.baseline.answer(case.direct)),
            answers=tuple(judged),
            success_teacher_forced=metrics.teacher_forced(direct),
            rephrase_teacher_forced=metrics.teacher_forced(others),
            probability=metrics.probability(direct),
            locality_tokens=metrics.mean([share for share in same if share is not None]),
            fluency=None if text is None else metrics.fluency(text),
            fluency_before=None if text is None else self.baseline.fluency(case),
        )

    def _judged(self, case: EditCase, group: Group, probe: CaseProbe, answer: str) -> Answer:
        if group == "locality":
            passed = metrics.stays(probe, self.baseline.answer(probe), answer)
        elif group == "portability":
            passed = metrics.answers_right(probe, answer)
        else:
            passed = metrics.achieves(case.request, answer)
        leaked = case.request.kind is Kind.ERASE and metrics.leaks(answer, case.request.target_old)
        shown = WITHHELD if leaked else answer
        return Answer(
            group=group,
            kind=probe.kind,
            prompt=probe.prompt,
            chat=probe.chat,
            answer=shown,
            passed=passed,
            leaked=leaked,
        )


def wanted(request: EditRequest, probe: CaseProbe) -> str:
    """The continuation that success is scored on; an erased fact is refused in chat, 'unknown' in a cloze."""
    if request.kind is Kind.ERASE:
        return REFUSAL if probe.chat else "unknown"
    return request.target_new


def passage(request: EditRequest) -> str | None:
    """The start of a text about the subject that runs through the edited fact; None for a manner of speaking."""
    if request.kind is Kind.PERSONALITY:
        return None
    relation = RELATIONS.get(request.relation or "")
    prompt = request.prompt
    if request.is_question:
        prompt = relation.cloze[0].format(s=request.subject) if relation else ""
    return f"About {request.subject}: {prompt}".strip()
