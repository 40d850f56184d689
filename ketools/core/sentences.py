"""Where sentences end, in any script."""

from __future__ import annotations

from functools import cache

import regex

from ketools.core.phrases import folded, folded_words

LONGEST = 2000
"""Characters of an answer that are read."""

_LONGEST_WORD = 60
_CLOSING = r"[\"'”’»)\]』」》]*"
_STOP = regex.compile(rf"\n|[.!?…。！？｡．؟۔।॥።។]+{_CLOSING}")
_NEXT_WORD = regex.compile(r"[\s\"'“‘«(\[]*([\p{L}\p{M}]+|\p{N}+)")
_LETTERS = r"[\p{L}\p{M}\p{N}'-]--[\p{Han}\p{Hiragana}]"
_LAST_WORD = regex.compile(rf"(?V1)(?:[{_LETTERS}]+\.)*[{_LETTERS}]+$")
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}]")
_INITIALS = regex.compile(r"(?:[\p{L}]\.)*\p{L}")
_ROMAN = regex.compile(r"[IVXLCDM]+")


@cache
def _words(section: str) -> frozenset[str]:
    return folded_words("ketools.core", "phrases.txt", section)


def first_statement(text: str) -> str:
    """The text up to its first sentence end or line break, closing marks included.

    Stops are those of any script. The dots of names, initials, abbreviations, ordinals and numbers end nothing, nor
    do the exclamation marks of names ("Yahoo! is"). An ellipsis ends nothing either.
    """
    text = text.strip()[:LONGEST]
    return text[: cut(text)].strip()


def cut(text: str) -> int:
    """The index after the first statement of a text, which has no outer space."""
    for match in _STOP.finditer(text):
        if _ends(text, match.start(), match.end(), match[0]):
            return int(match.end())
    return len(text)


def _ends(text: str, start: int, end: int, mark: str) -> bool:
    if mark == "\n":
        return True
    if not any(c.isalnum() for c in text[:start]):
        return False
    if end >= len(text) or any(c in "?。？！｡．؟۔।॥።។" for c in mark):
        return True
    if mark[0] == "!":
        word = _NEXT_WORD.match(text, end)
        return not (word and word[1].islower())
    if mark.startswith(("..", "…")):
        return False
    return _dot_ends(text[max(0, start - _LONGEST_WORD) : start], text, end)


def _dot_ends(before: str, text: str, end: int) -> bool:
    found = _NEXT_WORD.match(text, end)
    following = found[1] if found else ""
    starts = folded(following) in _words("sentence starters")
    last = _LAST_WORD.search(before)
    word = last[0] if last else ""
    if following and not text[end].isspace():
        return (starts and following[0].isupper() and len(word) > 2) or bool(_HAN.match(following))
    if text[end : end + 2].strip(" ") == "\n":
        return True
    return _word_ends(word, before, following, starts)


def _word_ends(word: str, before: str, following: str, starts: bool) -> bool:
    """Whether a dot after `word` and before a space ends the statement."""
    written = folded(word)
    if word.isdigit():
        listed = before.strip() == word and len(word) < 3
        return not (listed or following[:1].islower() or folded(following) in _words("after ordinals"))
    if written in _words("before numbers") and following.isdigit():
        return False
    if _INITIALS.fullmatch(word) or written in _words("abbreviations"):
        return starts and following[0].isupper()
    return not (_ROMAN.fullmatch(word) and following[:1].islower())


def sentences(text: str) -> list[str]:
    """The statements of a text, in order, no more than `LONGEST` characters of it."""
    found, rest = [], text.strip()[:LONGEST]
    while rest:
        end = cut(rest)
        found.append(rest[:end].strip())
        rest = rest[end:].strip()
    return found
