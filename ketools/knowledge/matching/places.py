"""Where a text names a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import regex

from ketools.core.inflection import inflections, is_inflected
from ketools.core.phrases import folded_words
from ketools.knowledge.matching.dates import tells
from ketools.knowledge.matching.lists import PACKAGE
from ketools.knowledge.matching.targets import Element, Target, gap, is_initial, ways
from ketools.knowledge.matching.tokens import Token, tokens

_GAP = regex.compile(r"(?:[\s\p{Pd}\p{Pi}\p{Pf}_*,·・/()\[\]\"'`´ʼ′.&+]|:(?=\d))*")
_HYPHEN = regex.compile(r"[-‐‑]")
_HYPHENED_BEFORE = regex.compile(r"[\p{L}\p{N}][-‐‑]$")
_HYPHENED_AFTER = regex.compile(r"[-‐‑]\p{L}")
_DECADE = regex.compile(r"年代|[-‐‑]?(?:er|х|s|lar|lı)(?!\p{L})")
_IRISH = regex.compile(r"(?:(?<!\p{L})[oO]|n)['’ʼ]$")
_FOLLOWERS = regex.compile(
    r"\s+(?:City|Times|Airport|Herald)(?!\p{L})|\s+(?:del?|du|do)\s+(?:norte|sur|sul|nord|sud)(?!\p{L})"
    r"|\s+(?:الشمالي|الجنوبي)|(?:เหนือ|ใต้)"
)
"""Words that make another name of the one before them: Kansas City is no Kansas."""

_CITIES = frozenset(("new york", "vatican"))
_UNSPACED_FORMERS = regex.compile(r"(?:(?:^|[是在叫为為于於「,，])[新南北]|นิว)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text names a target: `[start, end)` in the text, and the tokens `[first, last)`."""

    start: int
    end: int
    first: int
    last: int


def places(text: str, target: str) -> list[Place]:
    """Where a text names a target: whole words, with the endings and particles of its language; in order, the
    longest of those that overlap."""
    told = tokens(text)
    endings = inflections(text)
    found: dict[tuple[int, int], Place] = {}
    for way in ways(target):
        for i in range(len(told)):
            last = _match(way, told, i, text, endings)
            if last and _stands_alone(told, i, last, text) and _has_case(way, told, i, last, text):
                start = told[i].start
                found.setdefault((i, last), Place(start, _closed(start, told[last - 1].end, text), i, last))
    kept = [p for p in found.values() if not any(_covers(o, p) for o in found.values())]
    return sorted(kept, key=lambda p: p.start)


def _closed(start: int, end: int, text: str) -> int:
    """The end of a name, with the bracket that closes one in it."""
    return end + 1 if text[end : end + 1] in (")", "]") and set("([") & set(text[start:end]) else end


def _covers(outer: Place, inner: Place) -> bool:
    return outer != inner and outer.first <= inner.first and inner.last <= outer.last


def _match(way: Target, told: Sequence[Token], i: int, text: str, endings: frozenset[str]) -> int:
    """The index after the last token of a match that begins at token `i`, or 0."""
    j, k, wanted = i, 0, way.elements
    while k < len(wanted):
        element = wanted[k]
        if j > i and j < len(told) and not _joins(element, told, j, text):
            return 0
        taken = _taken(element, told, j, text, endings, first=k == 0)
        if not taken and k and _is_extra_initial(told, j, text):
            taken = _taken(element, told, j + 1, text, endings, first=False)
            taken += bool(taken)
        if not taken and _is_compound(wanted[k : k + 2], told, j):
            taken, k = 1, k + 1
        if not taken and not element.optional:
            return 0
        j, k = j + taken, k + 1
    return j


def _is_compound(pair: Sequence[Element], told: Sequence[Token], j: int) -> bool:
    """Whether two words of the target stand as one ("jellyfish" for "jelly-fish")."""
    if len(pair) < 2 or j >= len(told) or any(len(e.token.text) < 3 or e.token.word.unspaced for e in pair):
        return False
    return told[j].text == pair[0].token.text + pair[1].token.text


def _joins(element: Element, told: Sequence[Token], j: int, text: str) -> bool:
    """Whether what stands before token `j` may stand within a name, or is what the target has there."""
    return _GAP.fullmatch(text, told[j - 1].end, told[j].start) is not None or gap(told, j, text) == element.gap


def _taken(element: Element, told: Sequence[Token], j: int, text: str, endings: frozenset[str], first: bool) -> int:
    """How many tokens from `j` on an element matches: 1, 2 for a hyphenated spelling of one word, or 0."""
    if j >= len(told):
        return 0
    token = told[j]
    if element.token.values or element.token.days:
        return int(_same_number(element.token, token, told, j, text))
    if (token.values and token.text != element.token.text) or token.days:
        return 0
    if token.text in element.forms or _is_form(element.token, token, endings, first):
        return 1
    if j + 1 < len(told) and _HYPHEN.fullmatch(text, token.end, told[j + 1].start):
        return 2 * (token.text + told[j + 1].text in element.forms)
    return 0


def _is_extra_initial(told: Sequence[Token], j: int, text: str) -> bool:
    return (
        j + 1 < len(told) and is_initial(told[j], text) and bool(_GAP.fullmatch(text, told[j].end, told[j + 1].start))
    )


def _is_form(wanted: Token, token: Token, endings: frozenset[str], first: bool) -> bool:
    if wanted.word.unspaced or token.word.unspaced:
        return False
    return is_inflected(wanted.text, token.text, endings, first=first) or _is_long_vowel(wanted.text, token.text)


def _is_long_vowel(a: str, b: str) -> bool:
    return a.rstrip("ー") == b.rstrip("ー") and a.rstrip("ー") != ""


def _same_number(wanted: Token, token: Token, told: Sequence[Token], j: int, text: str) -> bool:
    if wanted.days:
        return tells(wanted.days, token.days)
    if token.days:
        return _is_year_of(wanted, token)
    if wanted.text == token.text and wanted.joined == token.joined:
        return True
    if wanted.weak and not token.values:
        return False
    return (
        bool(wanted.values & token.values)
        and wanted.ordinal == token.ordinal
        and (not token.joined or wanted.joined)
        and (wanted.unit == token.unit or "" in (wanted.unit, token.unit))
        and (not token.weak or _closes(told, j, text))
    )


def _is_year_of(wanted: Token, token: Token) -> bool:
    """Whether a number is the year of a date."""
    years = {str(day[0]) for day in token.days if day[0]}
    return not (wanted.unit or wanted.ordinal or wanted.joined) and bool(wanted.values & years)


def _closes(told: Sequence[Token], j: int, text: str) -> bool:
    """Whether no word follows a token before the next mark."""
    return j + 1 == len(told) or bool(text[told[j].end : told[j + 1].start].strip())


def _stands_alone(told: Sequence[Token], first: int, last: int, text: str) -> bool:
    """Whether what is named is no part of a longer name or number."""
    start, end = told[first].start, told[last - 1].end
    opens_with_number = bool(told[first].values or told[first].days)
    ends_with_number = bool(told[last - 1].values or told[last - 1].days)
    before = text[max(0, start - 2) : start]
    if not opens_with_number and (_HYPHENED_BEFORE.search(before) or _IRISH.search(before)):
        return False
    if ends_with_number and _DECADE.match(text, end):
        return False
    if not ends_with_number and _HYPHENED_AFTER.match(text, end):
        tail = told[last].text if last < len(told) else ""
        return tail in folded_words(PACKAGE, "phrases.txt", "behind hyphens") or len(tail) <= 2
    return not _is_longer(told, first, last, text)


def _is_longer(told: Sequence[Token], first: int, last: int, text: str) -> bool:
    """Whether a word before or after makes another name of what is named ("New York", "Kansas City")."""
    start, end = told[first].start, told[last - 1].end
    if _UNSPACED_FORMERS.search(text[max(0, start - 8) : start]):
        return True
    follower = _FOLLOWERS.match(text, end)
    if follower and " ".join(t.text for t in told[first:last]) not in _CITIES:
        return True
    if first == 0 or told[first - 1].text not in folded_words(PACKAGE, "phrases.txt", "forming names"):
        return False
    former = told[first - 1]
    if text[former.end : start].strip(" -‐‑."):
        return False
    return text[former.start].isupper() or not text[start].isupper()


def _has_case(way: Target, told: Sequence[Token], first: int, last: int, text: str) -> bool:
    if not way.exact_case:
        return True
    written = text[told[first].start : told[last - 1].end]
    return any(c.isupper() for c in written) or (first == 0 and last == len(told))
