"""Asks an engine everything about edited cases, and judges the answers.

Everything that is asked under one change of weights goes to the engine as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ketools.core.requests import REFUSAL, EditRequest, Kind, Prompt
from ketools.engines.base import Engine, Score
from ketools.evaluation import metrics
from ketools.evaluation.baseline import ANSWER_TOKENS, FLUENCY_TOKENS, UTTERANCES, Baseline, passage
from ketools.evaluation.cases import CaseProbe, EditCase
from ketools.evaluation.results import Answer, CaseResult, Group
from ketools.layers.composition import EditLayer
from ketools.notes import NoteInjector, ScopedEngine

WITHHELD = "[withheld]"
"""Stands in results for an answer that holds what was to be erased."""

DRAWS = 10
"""Sampled answers that `leak_sampled` allows somebody who wants to know the secret."""

Question = tuple[Group, CaseProbe]

Lens = Callable[[Prompt, str, EditLayer], bool]
"""Whether a text can be read off some block of the model, after a prompt and under a layer."""


@dataclass(frozen=True)
class Making:
    """How an edit was made: its time, the memory at its peak (`footprint.Footprint`), and why it was not made."""

    ms: float = 0.0
    peak_mb: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class EditedCase:
    """A case under the layer that holds its edit. `fluent`: whether a longer text is written about it."""

    case: EditCase
    layer: EditLayer
    making: Making
    fluent: bool


@dataclass(frozen=True)
class _Scores:
    """Scores of one case: along targets and earlier answers per probe, and of further texts."""

    probes: tuple[Score | None, ...]
    wanted: tuple[Score, ...]
    unwanted: tuple[Score, ...]
    secret: tuple[Score, ...]


@dataclass(frozen=True)
class Asker:
    """Asks the engine everything about some edited cases, each under its own layer."""

    engine: Engine
    injector: NoteInjector
    baseline: Baseline
    lens: Lens | None = None

    def ask(self, edited: Sequence[EditedCase]) -> list[CaseResult]:
        """Results of cases that share a batch."""
        asked = [[q for q in questions(e.case) if self.baseline.meets_conditions(q[1])] for e in edited]
        put = [(p.rendered(), e.layer) for e, questions in zip(edited, asked, strict=True) for _, p in questions]
        answers = iter(self._answers(put, ANSWER_TOKENS))
        scores = self._scores(edited, asked)
        texts = self._texts(edited)
        prefixes = self._prefix_leaks(edited)
        return [
            self._result(e, asked[i], [next(answers) for _ in asked[i]], scores[i], texts[i], prefixes[i])
            for i, e in enumerate(edited)
        ]

    @property
    def _serving(self) -> ScopedEngine:
        return ScopedEngine(self.engine, self.injector)

    def _answers(self, asked: Sequence[tuple[Prompt, EditLayer]], tokens: int) -> list[str]:
        """Greedy answers to prompts, each under its own layer."""
        if not asked:
            return []
        prompts, layers = zip(*asked, strict=True)
        return self._serving.generate(prompts, layers, max_new_tokens=tokens)

    def _target(self, edited: EditedCase, group: Group, probe: CaseProbe) -> str:
        """What to score after a prompt; empty for nothing."""
        if group == "locality":
            return self.baseline.answer(probe)
        return wanted(edited.case.request, probe) if group in ("success", "rephrase") else ""

    def _scores(self, edited: Sequence[EditedCase], asked: Sequence[Sequence[Question]]) -> list[_Scores]:
        """Everything that is scored about the cases, in one batch."""
        pairs: list[tuple[Prompt, str, EditLayer]] = []

        def put(e: EditedCase, probe: CaseProbe, text: str) -> int | None:
            pairs.append((probe.rendered(), text, e.layer))
            return len(pairs) - 1 if text.strip() else None

        places = []
        for e, questions in zip(edited, asked, strict=True):
            probes = [put(e, p, self._target(e, g, p)) for g, p in questions]
            said = [
                [put(e, e.case.direct, t) for t in texts[:UTTERANCES]] for texts in (e.case.wanted, e.case.unwanted)
            ]
            places.append((probes, *said, [put(e, p, secret(e.case)) for p in phrasings(e.case)]))
        chosen = [i for i, (_, text, _) in enumerate(pairs) if text.strip()]
        some = [pairs[i] for i in chosen]
        found = self._serving.score([p for p, _, _ in some], [t for _, t, _ in some], [one for _, _, one in some])
        by_place = dict(zip(chosen, found, strict=True))
        return [
            _Scores(
                tuple(None if i is None else by_place[i] for i in probes),
                *(tuple(by_place[i] for i in group if i is not None) for group in groups),
            )
            for probes, *groups in places
        ]

    def _texts(self, edited: Sequence[EditedCase]) -> list[str | None]:
        """Longer texts about the subjects of the chosen cases, for fluency."""
        starts = [passage(e.case.request) if e.fluent else None for e in edited]
        chosen = [i for i, start in enumerate(starts) if start]
        out: list[str | None] = [None] * len(edited)
        if chosen:
            texts = self._answers(
                [(CaseProbe(prompt=starts[i] or "", chat=False).rendered(), edited[i].layer) for i in chosen],
                FLUENCY_TOKENS,
            )
            for i, text in zip(chosen, texts, strict=True):
                out[i] = text
        return out

    def _prefix_leaks(self, edited: Sequence[EditedCase]) -> list[float | None]:
        """Erasures: share of begun answers that go on with the rest of the secret."""
        begun = [(i, *pair) for i, e in enumerate(edited) for pair in beginnings(e.case)]
        put = [(CaseProbe(prompt=text).rendered(), edited[i].layer) for i, text, _ in begun]
        answers = self._answers(put, ANSWER_TOKENS)
        told = [(i, metrics.leaks(answer, rest)) for (i, _, rest), answer in zip(begun, answers, strict=True)]
        return [metrics.mean([float(leaked) for j, leaked in told if j == i]) for i in range(len(edited))]

    def _lens_leaks(self, edited: EditedCase) -> float | None:
        """Erasures: share of phrasings after which some block holds the secret."""
        if self.lens is None:
            return None
        told = [
            self.lens(put.prompt, secret(edited.case), put.layer)
            for put in self._serving.prepare([p.rendered() for p in phrasings(edited.case)], edited.layer)
        ]
        return metrics.mean([float(leaked) for leaked in told])

    def _result(
        self,
        edited: EditedCase,
        asked: Sequence[Question],
        answers: Sequence[str],
        scores: _Scores,
        text: str | None,
        leak_prefix: float | None,
    ) -> CaseResult:
        case, request = edited.case, edited.case.request
        before = self.baseline.answer(case.direct)
        erased = request.kind is Kind.ERASE
        return CaseResult(
            id=case.id,
            task=case.task,
            kind=request.kind,
            trait=request.trait,
            ms=edited.making.ms,
            peak_mb=edited.making.peak_mb,
            failed=edited.making.failed,
            unasked=sum(1 for _ in questions(case)) - len(asked),
            target=request.target_new,
            old=None if erased else request.target_old,
            said_before="" if erased else before,
            before=metrics.achieves(request, before),
            answers=tuple(self._judged(case, *pair, answer) for pair, answer in zip(asked, answers, strict=True)),
            **self._scored(asked, scores),
            fluency=None if text is None else metrics.fluency(text),
            fluency_before=None if text is None else self.baseline.fluency(case),
            consistency=None if text is None else metrics.consistency(text, case.references),
            leak_prefix=leak_prefix,
            leak_sampled=metrics.leak_chance(scores.secret, DRAWS),
            leak_lens=self._lens_leaks(edited),
            **(_erasure(request, asked, answers) if erased else {}),
            manner_success=self._manner_success(case, scores),
            trait_gain=metrics.trait_gain(before, answers[0], request.trait) if request.trait else None,
        )

    def _scored(self, asked: Sequence[Question], scores: _Scores) -> dict[str, float | None]:
        scored = [(group, probe, s) for (group, probe), s in zip(asked, scores.probes, strict=True) if s is not None]
        direct = [s for group, _, s in scored if group == "success"]
        others = [s for group, _, s in scored if group == "rephrase"]
        local = [(self.baseline.score(p), s) for group, p, s in scored if group == "locality"]
        same = [metrics.same_tokens(*pair) for pair in local]
        return {
            "success_teacher_forced": metrics.teacher_forced(direct),
            "rephrase_teacher_forced": metrics.teacher_forced(others),
            "probability": metrics.probability(direct),
            "locality_tokens": metrics.mean([share for share in same if share is not None]),
            "kl": metrics.divergence([was for was, _ in local], [now for _, now in local]),
        }

    def _manner_success(self, case: EditCase, scores: _Scores) -> float | None:
        before = [self.baseline.score(case.direct, text) for text in case.wanted[:UTTERANCES] if text.strip()]
        return metrics.manner_success(before, scores.wanted, scores.unwanted)

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
            test=probe.test.number if probe.test else None,
            every=bool(probe.test and probe.test.every),
        )


def _erasure(request: EditRequest, asked: Sequence[Question], answers: Sequence[str]) -> dict[str, float | None]:
    """Over all phrasings of what was to be forgotten."""
    told = [answer for (group, _), answer in zip(asked, answers, strict=True) if group in ("success", "rephrase")]
    return {"refusal": metrics.refusal_rate(told), "leak": metrics.leak_rate(told, request.target_old or "")}


def questions(case: EditCase) -> Iterator[Question]:
    """Every probe with what it is for."""
    yield "success", case.direct
    for probe in case.rephrase:
        yield "rephrase", probe
    for probes in case.portability.values():
        for probe in probes:
            yield "portability", probe
    for probes in case.locality.values():
        for probe in probes:
            yield "locality", probe


def wanted(request: EditRequest, probe: CaseProbe) -> str:
    """The continuation that success is scored on; an erased fact is refused in chat, 'unknown' in a cloze."""
    if request.kind is Kind.ERASE:
        return REFUSAL if probe.chat else "unknown"
    return request.target_new


def secret(case: EditCase) -> str:
    """What an erasure is to make the model forget; empty for any other edit."""
    return (case.request.target_old or "") if case.request.kind is Kind.ERASE else ""


def phrasings(case: EditCase) -> tuple[CaseProbe, ...]:
    """The ways in which an erased fact is asked for; none for any other edit."""
    return (case.direct, *case.rephrase) if secret(case) else ()


def beginnings(case: EditCase) -> Iterator[tuple[str, str]]:
    """Each cloze of an erased fact with the first half of the secret's words, and the words that are left."""
    words = secret(case).split()
    cut = len(words) // 2
    for probe in phrasings(case) if cut else ():
        if not probe.chat:
            yield f"{probe.prompt} {' '.join(words[:cut])}", " ".join(words[cut:])
