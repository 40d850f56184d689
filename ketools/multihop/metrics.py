"""What counts as right in a multi-hop benchmark, and the sums over a run.

Every share is in [0, 1] and None when there was nothing to count; docs/multihop.md defines each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from ketools.core.results import MultihopAnswer
from ketools.core.text import normalise
from ketools.evaluation.metrics import interval, mean
from ketools.evaluation.mquake import HopFact, Key, MultihopCase


def strictly(answer: str | None, right: Iterable[str]) -> bool:
    """MeLLo's rule: equal to the answer or one of its other names, capitals and marks included."""
    return answer is not None and answer in set(right)


def leniently(answer: str | None, right: Iterable[str]) -> bool:
    """The same without capitals, closing marks and repeated space ("Niger." is Niger)."""
    return answer is not None and normalise(answer) in {normalise(name) for name in right}


def hopwise(result: MultihopAnswer, hops: Sequence[HopFact], answers: Iterable[str]) -> bool:
    """PokeMQA's rule: the final answer right, as many hops as the chain has, and each of their answers right."""
    pairs = zip(result.hops, hops, strict=False)
    return (
        leniently(result.answer, answers)
        and len(result.hops) == len(hops)
        and all(leniently(hop.answer, fact.answers) for hop, fact in pairs)
    )


class Knowledge:
    """What all cases of a data set know together: the facts before the edits, and a batch's edits over them."""

    def __init__(self, cases: Iterable[MultihopCase]) -> None:
        self._facts: dict[Key, HopFact] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        for case in cases:
            for hop in (*case.before, *case.after):
                self._names.setdefault(hop.target, hop.answers)
            edited = {edit.key for edit in case.edits}
            untouched = [hop for hop in case.after if hop.key not in edited]
            for hop in (*case.before, *untouched):
                self._facts.setdefault(hop.key, hop)

    def path(self, case: MultihopCase, edits: Mapping[Key, str]) -> list[tuple[Key, str]] | None:
        """The case's relations followed from its subject under edits; None where nobody knows how it goes on."""
        found: list[tuple[Key, str]] = []
        for hop in case.after:
            key = (found[-1][1], hop.key[1]) if found else hop.key
            known = self._facts.get(key)
            target = edits.get(key) or (known.target if known else None)
            if target is None:
                return None
            found.append((key, target))
        return found

    def names(self, target: str) -> tuple[str, ...]:
        """An object's names."""
        return self._names.get(target, ())


def overridden(case: MultihopCase, edits: Mapping[Key, str]) -> bool:
    """Whether other cases' edits in the memory lead this case's chain elsewhere."""
    if not case.after:
        return any(edits.get(edit.key, edit.target) != edit.target for edit in case.edits)
    return any(edits.get(hop.key, hop.target) != hop.target for hop in case.after)


class QuestionResult(BaseModel):
    """One question of one case, with the whole transcript."""

    model_config = ConfigDict(frozen=True)

    case: str
    index: int
    kind: str
    """`edited`, `untouched`, or `untouched_alone` (the same without any memory)."""
    strict: bool
    lenient: bool
    hopwise: bool | None
    overridden: bool = False
    shared: bool | None = None
    """Overridden cases: whether the answer is what all edits together lead to."""
    hops: int = 0
    found: int = 0
    edited_hops: int = 0
    injected: int = 0
    other_hops: int = 0
    seconds: float = 0.0
    result: MultihopAnswer


class Overridden(BaseModel):
    """Cases whose chain other cases' edits change: against their own answer, and against the shared memory's."""

    model_config = ConfigDict(frozen=True)

    n: int
    accuracy: float | None
    accuracy_shared: float | None


class Retrieval(BaseModel):
    """Over the hops that were asked in a known form: the right edit used where there is one, any where none is."""

    model_config = ConfigDict(frozen=True)

    found: float | None
    edited_hops: int
    false_injections: float | None
    other_hops: int


class MultihopSummary(BaseModel):
    """One agent at one size of memory. Accuracies are over the `n` cases that no other case overrides.

    `accuracy_all_cases`: all cases against their own answers, as is published. `accuracy_as_edited`: all cases
    against the answer that the memory as it stands leads to, the overridden ones included.
    """

    model_config = ConfigDict(frozen=True)

    accuracy: float | None
    accuracy_ci: tuple[float, float] | None
    accuracy_strict: float | None
    accuracy_per_question: float | None
    hopwise: float | None
    hopwise_per_question: float | None
    unedited: float | None
    unedited_no_memory: float | None
    unedited_n: int
    n: int
    questions: int
    by_hops: dict[int, float]
    overridden: Overridden
    accuracy_all_cases: float | None
    accuracy_as_edited: float | None
    n_as_edited: int
    retrieval: Retrieval
    malformed_per_question: float | None
    incomplete: float | None
    generations_per_question: float | None
    seconds: float


@dataclass(frozen=True)
class _Case:
    """The results of one case's phrasings."""

    rows: list[QuestionResult]

    def any(self, name: str) -> float:
        return float(any(getattr(row, name) for row in self.rows))


def summarise(rows: Sequence[QuestionResult]) -> MultihopSummary:
    """Sum up the results of one agent at one size of memory."""
    edited = [row for row in rows if row.kind == "edited"]
    kept = [row for row in edited if not row.overridden]
    cases, all_cases = _by_case(kept), _by_case(edited)
    other = [case for case in all_cases if case.rows[0].overridden]
    right = [case.any("lenient") for case in cases]
    as_edited = [*right, *(c.any("shared") for c in other if c.rows[0].shared is not None)]
    judged = [row for row in kept if row.hopwise is not None]
    untouched = [float(row.lenient) for row in rows if row.kind == "untouched"]
    alone = [float(row.lenient) for row in rows if row.kind == "untouched_alone"]
    lengths = sorted({case.rows[0].hops for case in cases})
    return MultihopSummary(
        accuracy=mean(right),
        accuracy_ci=interval(right),
        accuracy_strict=mean([case.any("strict") for case in cases]),
        accuracy_per_question=mean([float(row.lenient) for row in kept]),
        hopwise=mean([case.any("hopwise") for case in _by_case(judged)]),
        hopwise_per_question=mean([float(row.hopwise or False) for row in judged]),
        unedited=mean(untouched),
        unedited_no_memory=mean(alone),
        unedited_n=len(untouched),
        n=len(cases),
        questions=len(kept),
        by_hops={n: mean([c.any("lenient") for c in cases if c.rows[0].hops == n]) or 0.0 for n in lengths},
        overridden=Overridden(
            n=len(other),
            accuracy=mean([case.any("lenient") for case in other]),
            accuracy_shared=mean([c.any("shared") for c in other if c.rows[0].shared is not None]),
        ),
        accuracy_all_cases=mean([case.any("lenient") for case in all_cases]),
        accuracy_as_edited=mean(as_edited),
        n_as_edited=len(as_edited),
        retrieval=_retrieval(edited),
        malformed_per_question=mean([float(row.result.malformed) for row in edited]),
        incomplete=mean([float(not row.result.complete) for row in edited]),
        generations_per_question=mean([float(row.result.generations) for row in edited]),
        seconds=sum(row.seconds for row in rows),
    )


def _by_case(rows: Iterable[QuestionResult]) -> list[_Case]:
    found: dict[str, list[QuestionResult]] = {}
    for row in rows:
        found.setdefault(row.case, []).append(row)
    return [_Case(group) for group in found.values()]


def _retrieval(rows: Sequence[QuestionResult]) -> Retrieval:
    edited, other = sum(row.edited_hops for row in rows), sum(row.other_hops for row in rows)
    return Retrieval(
        found=sum(row.found for row in rows) / edited if edited else None,
        edited_hops=edited,
        false_injections=sum(row.injected for row in rows) / other if other else None,
        other_hops=other,
    )
