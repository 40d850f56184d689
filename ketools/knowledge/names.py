"""How near a text comes to naming something: evidence for names that are spelt otherwise, and against namesakes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ketools.core.inflection import inflections, is_inflected
from ketools.core.names import Word, find, name_words, words
from ketools.core.text import word_set

SMALL = word_set(
    "the a an of in on at to for from by with and or is was are were be been it its as that this de la le du des von "
    "der die das el los las et y e i o u da do di del s"
)
"""Words that tell little of a name."""

CLOSE = 0.72
"""Least similarity at which two words may be spellings of one."""


@dataclass(frozen=True, slots=True)
class NameEvidence:
    """What a text shows of a name. All shares are between 0 and 1.

    `whole`: it stands there for itself; `part`: only as part of a longer name. `share`: weight of its words that
    occur, in any form; `near`: the same with the similarity of the nearest word for those that do not.
    `missing`: name-like words (a capital, a digit) that do not occur, per name-like word.
    """

    whole: bool
    part: bool
    share: float
    near: float
    missing: float


@lru_cache(maxsize=16384)
def name_evidence(name: str, text: str) -> NameEvidence:
    """What the text shows of the name."""
    spans = find(name, text)
    if spans:
        whole = any(span.whole for span in spans)
        return NameEvidence(whole, not whole, 1.0, 1.0, 0.0)
    wanted, spoken = words(name), words(text)
    if not wanted or not spoken:
        return NameEvidence(False, False, 0.0, 0.0, 1.0)
    if all(word.unspaced for word in wanted):
        share = _longest_run(name_words(name), [word.text for word in spoken]) / len(wanted)
        return NameEvidence(False, False, share, share, 1.0)
    return _by_words(name, wanted, text, spoken)


def _by_words(name: str, wanted: Sequence[Word], text: str, spoken: Sequence[Word]) -> NameEvidence:
    endings = inflections(text)
    texts = [word.text for word in spoken]
    found = near = total = missing = likely = 0.0
    for word in wanted:
        weight = 0.15 if word.text in SMALL else 1.0
        is_there = word.text in texts or any(is_inflected(word.text, other, endings) for other in texts)
        total += weight
        found += weight * is_there
        near += weight * (1.0 if is_there else max(similarity(word.text, other) for other in texts))
        if weight == 1.0 and is_name_like(name[word.start : word.end]):
            likely += 1
            missing += not is_there
    return NameEvidence(False, False, found / total, near / total, missing / likely if likely else 0.0)


def is_name_like(written: str) -> bool:
    """Whether a written word looks like a part of a name: a capital or a digit."""
    return written[:1].isupper() or any(c.isdigit() for c in written)


def similarity(a: str, b: str) -> float:
    """How alike two folded words are spelt, 0 to 1: 1 minus the edit distance (swaps count one) per letter.

    0 below `CLOSE`; numbers are alike only when equal.
    """
    if a == b:
        return 1.0
    longest = max(len(a), len(b))
    most = int(longest * (1 - CLOSE))
    if longest < 4 or abs(len(a) - len(b)) > most or len(set(a) ^ set(b)) > 2 * most:
        return 0.0
    return _alike(a, b, longest)


@lru_cache(maxsize=65536)
def _alike(a: str, b: str, longest: int) -> float:
    if any(c.isdigit() for c in a + b):
        return 0.0
    alike = 1.0 - _distance(a, b) / longest
    return alike if alike >= CLOSE else 0.0


def _distance(a: str, b: str) -> int:
    """Damerau-Levenshtein distance (optimal string alignment)."""
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        above, before, row = before, row, [i]
        for j, y in enumerate(b, start=1):
            cost = min(row[-1] + 1, before[j] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and y == a[i - 2]:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def _longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest run of words that both have."""
    best, row = 0, [0] * (len(b) + 1)
    for x in a:
        row = [0, *(row[j] + 1 if x == y else 0 for j, y in enumerate(b))]
        best = max(best, *row)
    return best


def mentioned(names: Iterable[str], text: str) -> list[str]:
    """Those of the names that stand in the text for themselves."""
    return [name for name in names if any(span.whole for span in find(name, text))]
