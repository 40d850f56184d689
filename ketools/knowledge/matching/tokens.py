"""The words, numbers and dates of a text, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import regex

from ketools.core.names import Word, words
from ketools.core.phrases import folded, folded_words, sections, simplified
from ketools.knowledge.matching.dates import Day, date_at
from ketools.knowledge.matching.lists import PACKAGE
from ketools.knowledge.matching.numerals import Numeral, canonical, in_characters, in_words, interpret
from ketools.knowledge.matching.numerals import values as values_of
from ketools.knowledge.matching.units import beside

_LEADING_DIGITS = regex.compile(r"\d+")
_CHARACTERS = regex.compile(r"[\p{Han}\p{Thai}]+")
_SUFFIXED = regex.compile(r"(\d+)(\p{L}+)")
_ORDINALS = frozenset(("st", "nd", "rd", "th", "er", "ere", "eme", "e", "º", "ª"))
_HAN_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "千": 10**3, "百": 10**2}
_JOINER = regex.compile(r"\s*[-–‑‐/:]\s*")
_HYPHENED = regex.compile(r"(?V1)[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]][-‑‐/:.,]$")
_SINGLE_ONE = frozenset(("of", "who", "that", "which", "another", "can", "must", "should", "day", "more"))
_SPACES = " \u00a0\u202f\u2009"
_SEPARATORS = frozenset(".,'’٬٫" + _SPACES)


@dataclass(frozen=True, slots=True)
class Token:
    """A word, number or date and its place `[start, end)` in the text.

    `values`: the readings of a number as canonical decimals; `days`: of a date. `joined`: a number that a hyphen,
    slash or colon ties to another ("10-12", "2:44"). `weak`: a number word that is also another word.
    """

    text: str
    start: int
    end: int
    word: Word
    values: frozenset[str] = frozenset()
    days: frozenset[Day] = frozenset()
    ordinal: bool = False
    unit: str = ""
    joined: bool = False
    weak: bool = False


@lru_cache(maxsize=8192)
def tokens(text: str) -> tuple[Token, ...]:
    """The tokens of a text; numbers and dates are one token each, however they are written."""
    found: list[Token] = []
    text = simplified(text)
    told = [part for word in words(text) for part in _without_unit(word)]
    texts = [word.text for word in told]
    i = 0
    while i < len(told):
        token, length = _token(told, texts, i, text)
        while found and found[-1].start >= token.start:
            found.pop()
        found.append(token)
        i += length
        while i < len(told) and told[i].end <= token.end:
            i += 1
    return tuple(found)


def _without_unit(word: Word) -> tuple[Word, ...]:
    """Digits and the unit that is written behind them ("5km") as two words; any other word as it is."""
    match = _SUFFIXED.fullmatch(word.text) if word.text[0].isdigit() else None
    if not match or match[2] not in folded_words(PACKAGE, "numbers.txt", "units"):
        return (word,)
    middle = word.end - len(match[2])
    return Word(match[1], word.start, middle), Word(match[2], middle, word.end)


def _token(told: Sequence[Word], texts: Sequence[str], i: int, text: str) -> tuple[Token, int]:
    word = told[i]
    date = date_at(told, i, text)
    if date:
        start, end = word.start, told[i + date.length - 1].end
        return Token(folded(text[start:end]), start, end, word, days=date.readings), date.length
    read = _digits if word.text[0].isdigit() else _spelled
    number = read(told, texts, i, text)
    return number or (Token(word.text, word.start, word.end, word), 1)


def _digits(told: Sequence[Word], texts: Sequence[str], i: int, text: str) -> tuple[Token, int] | None:
    """A number in digits from word `i` on, with its sign, scale and unit; None where the digits are a name's."""
    parts, separators = [texts[i]], []
    while (part := _next_group(told, texts, i + len(parts) - 1, text, parts)) is not None:
        separators.append(text[told[i + len(parts) - 1].end])
        parts.append(part)
    suffix = ""
    if match := _SUFFIXED.fullmatch(parts[-1]):
        parts[-1], suffix = match[1], match[2]
    if not parts[-1].isdigit() or (suffix and not _may_follow_digits(suffix)):
        return None
    spaced = [" " if s in _SPACES else "'" if s in "'’٬" else s for s in separators]
    values = interpret(parts, spaced)
    if not values and separators:
        return _whole(told, i, len(parts), text)
    return _number(told, texts, i, len(parts), text, values, suffix)


def _may_follow_digits(suffix: str) -> bool:
    return suffix in _ORDINALS or suffix in _scales()


def _next_group(told: Sequence[Word], texts: Sequence[str], j: int, text: str, parts: Sequence[str]) -> str | None:
    """The digits after word `j` that belong to the same number, if any do."""
    if j + 1 >= len(told) or not parts[-1].isdigit() or told[j + 1].start != told[j].end + 1:
        return None
    gap, following = text[told[j].end], texts[j + 1]
    match = _LEADING_DIGITS.match(following)
    if not match or gap not in _SEPARATORS:
        return None
    if gap in _SPACES and not (
        len(match[0]) == 3 and match[0] == following and len(parts[0]) <= 3 and _is_thin(gap, parts)
    ):
        return None
    return following


def _is_thin(gap: str, parts: Sequence[str]) -> bool:
    return gap != " " or parts[0][0] != "0"


def _whole(told: Sequence[Word], i: int, length: int, text: str) -> tuple[Token, int]:
    """Digit groups that are no number, such as an address or a version: one word."""
    start, end = told[i].start, told[i + length - 1].end
    return Token(folded(text[start:end]), start, end, told[i]), length


def _number(
    told: Sequence[Word], texts: Sequence[str], i: int, length: int, text: str, values: frozenset[str], suffix: str
) -> tuple[Token, int]:
    scale, more = _scale(told, texts, i + length, text, suffix)
    if scale > 1:
        values, length = frozenset(_times(v, scale) for v in values), length + more
    joined = _is_joined(told, i, i + length - 1, text)
    token = Token(
        "", told[i].start, told[i + length - 1].end, told[i], values, ordinal=suffix in _ORDINALS, joined=joined
    )
    return _with_surroundings(token, text), length


def _with_surroundings(token: Token, text: str) -> Token:
    """The number with its sign and unit, and the words that tell them."""
    found = beside(text, token.start, token.end, signed=not token.joined)
    values = frozenset(f"-{v}" for v in token.values) if found.is_negative else token.values
    written = folded(text[found.start : found.end].strip())
    return replace(token, text=written, start=found.start, end=found.end, unit=found.unit, values=values)


@lru_cache(maxsize=1)
def _scales() -> Mapping[str, int]:
    return values_of(sections(PACKAGE, "numbers.txt")["scales"])


def _scale(told: Sequence[Word], texts: Sequence[str], j: int, text: str, suffix: str) -> tuple[int, int]:
    """What a following word multiplies a number by, and how many words that takes."""
    if suffix in _scales():
        return _scales()[suffix], 0
    if j >= len(texts) or suffix:
        return 1, 0
    if texts[j] in _scales():
        return _scales()[texts[j]], 1
    size, length = 1, 0
    while (
        j + length < len(texts)
        and texts[j + length] in _HAN_SCALES
        and told[j + length].start == told[j].start + length
    ):
        size, length = size * _HAN_SCALES[texts[j + length]], length + 1
    return size, length


def _times(value: str, scale: int) -> str:
    whole, _, rest = value.partition(".")
    zeros = len(str(scale)) - 1
    rest = rest.ljust(zeros, "0")
    return canonical(f"{whole}{rest[:zeros]}.{rest[zeros:]}")


def _is_joined(told: Sequence[Word], first: int, last: int, text: str) -> bool:
    start, end = told[first].start, told[last].end
    if _HYPHENED.search(text[max(0, start - 2) : start]):
        return True
    if first and told[first - 1].text[-1].isdigit() and _JOINER.fullmatch(text, told[first - 1].end, start):
        return True
    if last + 1 >= len(told) or not told[last + 1].text[0].isdigit():
        return False
    return _JOINER.fullmatch(text, end, told[last + 1].start) is not None


def _spelled(told: Sequence[Word], texts: Sequence[str], i: int, text: str) -> tuple[Token, int] | None:
    """A number in words from word `i` on."""
    word = told[i]
    if word.unspaced:
        return _in_characters(told, texts, i, text)
    numeral = in_words(texts, i)
    if numeral is None or (texts[i : i + 2][0] == "one" and texts[i + 1 : i + 2] and texts[i + 1] in _SINGLE_ONE):
        return None
    return _from_numeral(numeral, numeral.length, told, texts, i, text)


def _in_characters(told: Sequence[Word], texts: Sequence[str], i: int, text: str) -> tuple[Token, int] | None:
    if i and told[i - 1].unspaced and told[i - 1].end == told[i].start and texts[i - 1] in "第初":
        return None
    run = _CHARACTERS.match(text, told[i].start)
    numeral = in_characters(run[0]) if run else None
    if numeral is None:
        return None
    length, end = 0, told[i].start + numeral.length
    while i + length < len(told) and told[i + length].end <= end:
        length += 1
    return _from_numeral(numeral, length, told, texts, i, text) if length else None


def _from_numeral(
    numeral: Numeral, length: int, told: Sequence[Word], texts: Sequence[str], i: int, text: str
) -> tuple[Token, int]:
    start, end = told[i].start, told[i + length - 1].end
    values = frozenset({str(numeral.value)})
    token = Token("", start, end, told[i], values, ordinal=numeral.ordinal, weak=numeral.weak)
    return _with_surroundings(token, text), length
