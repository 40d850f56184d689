"""Facts that may be asked for, indexed by the words of their names and prompts.

A look-up touches only facts that share a name or rare words with the text, so ten thousand facts cost what the few
near ones cost; nothing is embedded here.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ketools.core.names import canonical, find, name_words, words
from ketools.knowledge.scope.vocabulary import rarity

PREFIX = 3
"""Letters by which words of inflecting scripts are filed."""

LEAST = 0.5
"""The score from which on a fact is in scope."""

COMMON = 0.1
"""A word that a larger share of many facts holds finds none of them."""


@dataclass(frozen=True)
class Fact:
    """One fact as questions may ask for it: its prompt first among the `phrasings`, its subject's other `aliases`.

    `least`: the score from which on it is in scope.
    """

    id: str
    subject: str
    phrasings: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    least: float = LEAST

    @property
    def names(self) -> tuple[str, ...]:
        """The subject and its other names."""
        return (self.subject, *self.aliases)


@dataclass(frozen=True)
class Asking:
    """A question put beside one phrasing of a fact about a subject."""

    subject: str
    phrasing: str
    question: str


class Facts:
    """An index over facts. Immutable."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.facts: tuple[Fact, ...] = tuple(facts)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_word: dict[str, list[int]] = defaultdict(list)
        for i, fact in enumerate(self.facts):
            for name in fact.names:
                self._by_name[_filed_under(name)].append(i)
            for key in {key for text in (fact.subject, *fact.phrasings) for key in _keys(text)}:
                self._by_word[key].append(i)

    def __len__(self) -> int:
        return len(self.facts)

    def named(self, text: str) -> list[int]:
        """The positions of the facts one of whose names stands in the text, in any of its forms."""
        keys = {key for key in _looked_up(text) if key in self._by_name}
        near = sorted({i for key in keys for i in self._by_name[key]})
        return [i for i in near if any(find(name, text) for name in self.facts[i].names)]

    def alike(self, text: str, most: int) -> list[int]:
        """The positions of at most `most` facts that share the rarest words with the text, the nearest first."""
        weights: dict[int, float] = defaultdict(float)
        total = len(self.facts)
        for key in set(_keys(text)):
            holders = self._by_word.get(key, ())
            if holders and (total < 50 or len(holders) <= COMMON * total):
                weight = (0.05 + rarity(key)) * math.log(1 + total / len(holders))
                for i in holders:
                    weights[i] += weight
        return sorted(weights, key=lambda i: (-weights[i], i))[:most]


def _filed_under(name: str) -> str:
    """The key of a name: its longest word, cut short where endings vary; its first two characters without spaces."""
    parts = name_words(name)
    if not parts:
        return canonical(name)
    first = words(name)[0]
    if first.unspaced:
        return "".join(parts[:2])
    longest = max(parts, key=len)
    return longest if longest.isascii() else longest[:PREFIX]


def _looked_up(text: str) -> Iterator[str]:
    """Every key under which a name that stands in the text may be filed."""
    spoken = words(text)
    for i, word in enumerate(spoken):
        yield word.text
        if word.unspaced and i + 1 < len(spoken):
            yield word.text + spoken[i + 1].text
        yield from (word.text[k : k + PREFIX] for k in range(4 * (not word.text.isascii())))
        if not word.unspaced and word.text.isascii():
            yield from (word.text[:-k] for k in range(1, 5) if len(word.text) - k >= 4)
    yield from (canonical(part) for part in text.split() if not words(part))


def _keys(text: str) -> Iterator[str]:
    """The words of a text, and the pairs of characters of scripts without spaces."""
    spoken: Sequence[str] = [word.text for word in words(text) if not word.unspaced]
    yield from spoken
    run = [word for word in words(text) if word.unspaced]
    yield from (a.text + b.text for a, b in pairwise(run) if a.end == b.start)
