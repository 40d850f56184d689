"""Calendar dates among the words of a text, in the usual written forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import regex

from ketools.core.names import Word
from ketools.core.phrases import folded, sections
from ketools.knowledge.matching.lists import PACKAGE

Day = tuple[int | None, int | None, int | None]
"""Year, month and day; None where a date does not tell it."""

_DAY = regex.compile(r"(\d{1,2})(?:st|nd|rd|th|er|o|a|е|го|le)?")
_BREAK = regex.compile(r"[;:!?()]")
_KOREAN = regex.compile(r"(\d{1,4})([년월일])")
_YEAR = regex.compile(r"\d{3,4}")
_BETWEEN = frozenset(("of", "de", "del", "the", "der", "den", "von", "في", "من"))
_BEFORE_YEARS = _BETWEEN | frozenset("พศคป")
_BUDDHIST = 543
_LONGEST_MONTH = 12


@dataclass(frozen=True, slots=True)
class Date:
    """A date's readings ("03/05/1990" has two) and how many words it took."""

    readings: frozenset[Day]
    length: int


@cache
def _months() -> Mapping[str, int]:
    lines = sections(PACKAGE, "numbers.txt")["months"].splitlines()
    return {folded(name): i for i, names in enumerate(lines, 1) for name in names.split()}


@cache
def _thai_months() -> tuple[tuple[str, int], ...]:
    return tuple((name, i) for name, i in _months().items() if "\u0e00" <= name[0] <= "\u0e7f")


def is_month(word: str) -> bool:
    """Whether a folded word names a month or is its short form."""
    return word in _months()


def date_at(words: Sequence[Word], i: int, text: str) -> Date | None:
    """The date that the words from `i` on tell."""
    first = words[i].text
    if first[0].isdigit():
        return _numeric(words, i, text) or _characters(words, i) or _day_first(words, i, text)
    return _month_first(words, i, text) if first in _months() else None


def _gap(words: Sequence[Word], i: int, text: str) -> str:
    return text[words[i].end : words[i + 1].start] if i + 1 < len(words) else ""


def _numeric(words: Sequence[Word], i: int, text: str) -> Date | None:
    """`1990-05-03`, `03.05.1990`, `5/3/1990`."""
    if i + 2 >= len(words):
        return None
    parts = [word.text for word in words[i : i + 3]]
    gaps = {_gap(words, i, text), _gap(words, i + 1, text)}
    if len(gaps) > 1 or not gaps <= {"-", ".", "/", "‑", "–", "−"} or not all(p.isdigit() for p in parts):
        return None
    a, b, c = (int(p) for p in parts)
    if len(parts[0]) == 4:
        return _date([(a, b, c)], 3)
    if len(parts[2]) == 4:
        return _date([(c, b, a), (c, a, b)], 3)
    return None


def _characters(words: Sequence[Word], i: int) -> Date | None:
    """`1990年5月3日` and `5月3日`; Korean with 년, 월 and 일."""
    found: dict[str, int] = {}
    j, places = i, {"年": "y", "月": "m", "日": "d", "号": "d", "號": "d"}
    while j + 1 < len(words) and words[j].text.isdigit() and places.get(words[j + 1].text, "") not in ("", *found):
        found[places[words[j + 1].text]] = int(words[j].text)
        j += 2
    if not found:
        return _korean(words, i)
    return _date([(found.get("y"), found["m"], found.get("d"))], j - i) if "m" in found and len(found) > 1 else None


def _korean(words: Sequence[Word], i: int) -> Date | None:
    found: dict[str, int] = {}
    j = i
    while j < len(words) and (match := _KOREAN.match(words[j].text)):
        found[match[2]] = int(match[1])
        j += 1
    if "월" not in found or len(found) < 2:
        return None
    return _date([(found.get("년"), found["월"], found.get("일"))], j - i)


def _day_first(words: Sequence[Word], i: int, text: str) -> Date | None:
    """`3 May 1990`, `3rd of May, 1990`, `3 de mayo de 1990`, `3. Mai`."""
    day = _DAY.fullmatch(words[i].text)
    j = _skipped(words, i + 1)
    month, length = _month_at(words, j)
    if not day or not month or _BREAK.search(text, words[i].end, words[j].start):
        return None
    year, end = _year_at(words, j + length, text)
    return _date(_thai_years((year, month, int(day[1])), length), end - i)


def _month_first(words: Sequence[Word], i: int, text: str) -> Date | None:
    """`May 3, 1990`, `May 3`, `May 1990`."""
    month = _months()[words[i].text]
    j = _skipped(words, i + 1)
    if j >= len(words) or _BREAK.search(text, words[i].end, words[j].start):
        return None
    day = _DAY.fullmatch(words[j].text)
    if day and not _continues(words, j, text):
        year, end = _year_at(words, j + 1, text)
        return _date([(year, month, int(day[1]))], end - i)
    year, end = _year_at(words, i + 1, text)
    return _date([(year, month, None)], end - i) if year else None


def _continues(words: Sequence[Word], j: int, text: str) -> bool:
    """Whether more digits follow at once, so that a word is no day ("May 3.5")."""
    return j + 1 < len(words) and words[j + 1].text.isdigit() and _gap(words, j, text) in (".", ":")


def _skipped(words: Sequence[Word], j: int, between: frozenset[str] = _BETWEEN) -> int:
    while j < len(words) and words[j].text in between:
        j += 1
    return j


def _month_at(words: Sequence[Word], j: int) -> tuple[int, int]:
    """The month named at a word and how many words its name takes; zeros where none is."""
    if j >= len(words):
        return 0, 0
    if not words[j].unspaced:
        return _months().get(words[j].text, 0), 1
    run = "".join(word.text for word in words[j : j + _LONGEST_MONTH])
    for name, month in _thai_months():
        if run.startswith(name):
            length, size = 0, 0
            while size < len(name):
                size, length = size + len(words[j + length].text), length + 1
            return month, length
    return 0, 0


def _year_at(words: Sequence[Word], j: int, text: str) -> tuple[int | None, int]:
    """A year at a word or after a connecting one, and the index after it."""
    k = _skipped(words, j, _BEFORE_YEARS)
    if k < len(words) and _YEAR.fullmatch(words[k].text):
        gap = text[words[j - 1].end : words[k].start]
        if not _BREAK.search(gap):
            end = k + 1
            return int(words[k].text), end + (end < len(words) and words[end].text in ("года", "г", "г."))
    return None, j


def _thai_years(day: Day, month_length: int) -> list[Day]:
    year = day[0]
    if month_length > 1 and year and year > 2400:
        return [day, (year - _BUDDHIST, day[1], day[2])]
    return [day]


def _date(readings: Sequence[Day], length: int) -> Date | None:
    right = [r for r in readings if 1 <= (r[1] or 1) <= 12 and 1 <= (r[2] or 1) <= 31]
    return Date(frozenset(right), length) if right else None


def tells(wanted: frozenset[Day], told: frozenset[Day]) -> bool:
    """Whether a date says at least what another does, in one of their readings."""
    return any(all(w in (None, t) for w, t in zip(a, b, strict=True)) for a in wanted for b in told)
