"""What kind of wrong an answer is: the four kinds of the survey's section 4.5."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum

from ketools.core.requests import FACTS
from ketools.evaluation.metrics import tokens_of
from ketools.evaluation.results import Answer, CaseResult


class Failure(StrEnum):
    """The survey's kinds, told apart by rules, the first that fits."""

    MEANINGLESS = "meaningless"
    """No word at all, or the same words over and over."""
    MISSING = "missing"
    """Only words of the target, but not all of them."""
    PARTIAL = "partial replacement"
    """Words of the target mixed with others, or words of the old answer still there."""
    IRRELEVANT = "irrelevant"
    """Neither of the target nor of the old answer."""


REPEATED = 3
"""A run of words that is said so often in a row is meaningless."""

_LITTLE = frozenset(
    ("a", "an", "the", "of", "in", "on", "at", "to", "and", "or", "is", "are", "was", "were", "by", "for", "it")
)


def failure_of(answer: str, target: str, old: Sequence[str]) -> Failure:
    """The kind of a wrong answer. `old`: what was right, or was said, before the edit."""
    words = tokens_of(answer)
    if not any(word.isalnum() for word in words) or repeats(words):
        return Failure.MEANINGLESS
    said, wanted = _content(words), _content(tokens_of(target))
    if said and said < wanted:
        return Failure.MISSING
    known = wanted.union(*(_content(tokens_of(text)) for text in old))
    return Failure.PARTIAL if said & known else Failure.IRRELEVANT


def _content(words: Iterable[str]) -> set[str]:
    """The words that carry meaning; all of them when none does."""
    alone = {word for word in words if word.isalnum()}
    return alone - _LITTLE or alone


def repeats(words: Sequence[str]) -> bool:
    """Whether one to four words stand there three times in a row."""
    spans = ((i, n) for n in range(1, 5) for i in range(len(words) - n * REPEATED + 1))
    return any(list(words[i : i + n * REPEATED]) == list(words[i : i + n]) * REPEATED for i, n in spans)


def failures(results: Iterable[CaseResult]) -> dict[Failure, int]:
    """How often each kind occurs among the wrong answers to edits of facts and their rephrases."""
    counts = Counter(
        failure_of(answer.answer, r.target, [text for text in (r.old, r.said_before) if text])
        for r, answer in fact_answers(results)
        if not answer.passed
    )
    return {kind: counts[kind] for kind in Failure}


def fact_answers(results: Iterable[CaseResult]) -> Iterator[tuple[CaseResult, Answer]]:
    """The answers to edits of facts and their rephrases, right and wrong, each with its case."""
    for result in results:
        if result.kind in FACTS:
            yield from ((result, answer) for answer in result.answers if answer.group in ("success", "rephrase"))
