"""What the scope head sees of a fact and a question: token marks and a few numbers about names and words."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ketools.core.names import Word, find, words
from ketools.knowledge.names import is_name_like, name_evidence, similarity
from ketools.knowledge.scope.minilm import Read
from ketools.knowledge.scope.vocabulary import rarity

MARKS = 6
"""Per token: part of the subject, same word on the other side, a similar word there, rare, name-like, not Latin."""

NUMBERS = 20
"""How many numbers describe a pair."""

_DENIED = re.compile(
    r"\b(?:not|n't|never|forget|ignore|skip|already know|leave aside|leave out|no need)\b|(?:n't|n’t)\b", re.IGNORECASE
)
_BESIDES = re.compile(r"\b(?:besides|other than|apart from|aside from|except|instead of|rather than)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Side:
    """One text of a pair, prepared: its words, and the characters that name the subject."""

    text: str
    words: tuple[Word, ...]
    named: tuple[tuple[int, int], ...]

    def is_named(self, word: Word) -> bool:
        return any(start < word.end and word.start < end for start, end in self.named)

    def rest(self) -> list[Word]:
        """The words outside the subject."""
        return [word for word in self.words if not self.is_named(word)]


@lru_cache(maxsize=16384)
def side(text: str, subject: str) -> Side:
    """A text prepared for a subject; words that are nearly the subject's count as naming it where it is not named."""
    spoken = words(text)
    named = tuple((span.start, span.end) for span in find(subject, text))
    if not named:
        own = [word.text for word in words(subject) if rarity(word.text) > 0.3]
        named = tuple((w.start, w.end) for w in spoken if any(similarity(o, w.text) for o in own))
    return Side(text, spoken, named)


def marks(own: Side, other: Side, read: Read) -> Tensor:
    """The marks of each token of a side, `[n, MARKS]`; 0 for a token between words."""
    theirs = frozenset(word.text for word in other.words)
    values = [_mark(own, word, theirs) for word in own.words]
    starts = [word.start for word in own.words]
    rows = []
    for start, _ in read.offsets:
        place = bisect_right(starts, start) - 1
        is_inside = place >= 0 and start < own.words[place].end
        rows.append(values[place] if is_inside else _NO_MARK)
    return torch.tensor(rows).reshape(-1, MARKS)


_NO_MARK = (0.0,) * MARKS


def _mark(own: Side, word: Word, theirs: frozenset[str]) -> tuple[float, ...]:
    same = word.text in theirs
    return (
        float(own.is_named(word)),
        float(same),
        1.0 if same else max((similarity(word.text, t) for t in theirs), default=0.0),
        rarity(word.text),
        float(word.start > 0 and is_name_like(own.text[word.start : word.end])),
        float(not word.text.isascii()),
    )


def numbers(subject: str, fact: Side, asked: Side, cosine: float) -> Tensor:
    """The pair in numbers, `[NUMBERS]`."""
    name = name_evidence(subject, asked.text)
    left, right = fact.rest(), asked.rest()
    covered, alien = _covered(left, asked.words), _covered(right, fact.words)
    grams = _grams(left), _grams(right)
    values = [
        name.whole,
        name.part,
        name.share,
        name.near,
        name.missing,
        cosine,
        covered,
        alien,
        _rarest_missing(left, asked.words),
        _rarest_missing(right, fact.words),
        _digits_missing(fact.words, asked.words),
        _digits_missing(asked.words, fact.words),
        _overlap(*grams),
        _overlap(*grams[::-1]),
        _DENIED.search(asked.text) is not None,
        _BESIDES.search(asked.text) is not None,
        min(len(asked.words), 40) / 40,
        min(len(fact.words), 40) / 40,
        min(len(words(subject)), 10) / 10,
        _foreign(asked.text),
    ]
    return torch.tensor([float(value) for value in values])


def _covered(own: Sequence[Word], other: Sequence[Word]) -> float:
    """The share of one side's words, by rarity, that the other side has in this or nearly this spelling."""
    texts = {word.text for word in other}
    weights = [0.05 + rarity(word.text) for word in own]
    found = [w for word, w in zip(own, weights, strict=True) if word.text in texts or _near(word.text, texts)]
    return sum(found) / sum(weights) if weights else 1.0


def _near(word: str, texts: set[str]) -> bool:
    return any(similarity(word, other) for other in texts)


def _rarest_missing(own: Sequence[Word], other: Sequence[Word]) -> float:
    texts = {word.text for word in other}
    missing = (rarity(w.text) for w in own if w.text not in texts and not _near(w.text, texts))
    return max(missing, default=0.0)


def _digits_missing(own: Sequence[Word], other: Sequence[Word]) -> bool:
    texts = {word.text for word in other}
    return any(word.text not in texts for word in own if any(c.isdigit() for c in word.text))


def _grams(own: Sequence[Word]) -> set[str]:
    """Pairs of characters of words in scripts without spaces, else triples."""
    joined = "".join(word.text if word.unspaced else f" {word.text} " for word in own)
    size = 2 if any(word.unspaced for word in own) else 3
    return {joined[i : i + size] for i in range(len(joined) - size + 1)}


def _overlap(own: set[str], other: set[str]) -> float:
    return len(own & other) / len(own) if own else 1.0


def _foreign(text: str) -> float:
    """The share of letters beyond the Latin script's first two blocks."""
    letters = [c for c in text if c.isalpha()]
    return sum(ord(c) > 0x24F for c in letters) / len(letters) if letters else 0.0
