"""Numbers in digits and in words, in the languages of the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import regex

from ketools.core.phrases import folded, folded_words, sections
from ketools.knowledge.matching.lists import PACKAGE

Words = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Numeral:
    """A number read from words: its value, how many words it took, and how far it can be trusted.

    `ordinal`: "third" rather than "three". `weak`: the word is also another word ("once" is Spanish for eleven).
    """

    value: int
    length: int
    ordinal: bool = False
    weak: bool = False


def interpret(parts: Sequence[str], separators: Sequence[str]) -> frozenset[str]:
    """The readings of digit groups and what separates them, as canonical decimals; empty when they are no number.

    "1.000" is a thousand (German) or one (English, with three decimals); "1,000" is a thousand.
    """
    if not separators:
        return frozenset({canonical(parts[0])})
    found = set()
    *inner, last = separators
    if _is_grouped(parts, separators):
        found.add(canonical("".join(parts)))
    if last in ".,٫" and (not inner or (last not in inner and _is_grouped(parts[:-1], inner))):
        certain = last == "," and not inner and len(parts[-1]) == 3 and parts[0] != "0"
        if not (certain and found):
            found.add(canonical("".join(parts[:-1]) + "." + parts[-1]))
    return frozenset(found)


def _is_grouped(parts: Sequence[str], separators: Sequence[str]) -> bool:
    if len(set(separators)) > 1 or separators[0] == "٫" or not 1 <= len(parts[0]) <= 3 or parts[0] == "0":
        return False
    indian = separators[0] == "," and all(len(part) == 2 for part in parts[1:-1])
    return len(parts[-1]) == 3 and (indian or all(len(part) == 3 for part in parts[1:]))


def canonical(digits: str) -> str:
    """A decimal without leading and trailing zeros."""
    whole, _, rest = digits.partition(".")
    rest = rest.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{rest}" if rest else "")


# --- words ---

_GERMAN_TENS = ("zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig")
_GERMAN_UNITS = ("ein", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
_LANGUAGES = ("en", "de", "fr", "es", "ru", "tr", "ar", "hi")
_CONNECTORS: Mapping[str, str] = {"en": "and", "fr": "et", "es": "y", "ar": "و"}

_THAI = {"ศูนย์": 0, "หนึ่ง": 1, "เอ็ด": 1, "สอง": 2, "ยี่": 2, "สาม": 3, "สี่": 4, "ห้า": 5, "หก": 6, "เจ็ด": 7}
_THAI |= {"แปด": 8, "เก้า": 9}
_THAI_UNITS = {"สิบ": 10, "ร้อย": 100, "พัน": 1000, "หมื่น": 10000, "แสน": 100000, "ล้าน": 1000000}
_HAN = dict(zip("零〇一二三四五六七八九", (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True)) | {"两": 2, "兩": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN_COUNTED = frozenset("个個名位人年月日岁歲次座条條只颗顆枚本部届号號层層天小时時分米公里つ歳回世世纪紀")


@cache
def _tables() -> Mapping[str, Words]:
    """Of each language, folded number words and their values; ordinals under `en ordinals` and so on."""
    found: dict[str, dict[str, int]] = {}
    for name, text in sections(PACKAGE, "numbers.txt").items():
        language, _, form = name.partition(": ")
        table = found.setdefault(language.removesuffix(" in the other gender"), {})
        if form == "counted":
            table |= {folded(word): i for i, word in enumerate(text.split())}
        elif form == "values":
            table |= values(text)
    found["de"] |= _german_tens()
    return found


def values(text: str) -> dict[str, int]:
    """Folded words and the values that a list gives them, as in `ten=10 eleven=11`."""
    pairs = (pair.split("=") for pair in text.split())
    return {folded(word): int(value) for word, value in pairs}


def _german_tens() -> dict[str, int]:
    tens = {word: 10 * i for i, word in enumerate(_GERMAN_TENS, 2)}
    units = {word: i for i, word in enumerate(_GERMAN_UNITS, 1)}
    both = {f"{unit}und{ten}": u + t for unit, u in units.items() for ten, t in tens.items()}
    return {folded(word): value for word, value in (tens | both).items()}


@cache
def _known() -> frozenset[str]:
    return frozenset(word for table in _tables().values() for word in table)


def _is_weak(word: str) -> bool:
    return word in folded_words(PACKAGE, "numbers.txt", "weak")


def in_words(words: Sequence[str], i: int) -> Numeral | None:
    """The number that the folded words from `i` on spell in one language; the longest reading."""
    if words[i] not in _known() and "hundert" not in words[i] and "tausend" not in words[i]:
        return None
    readings = [r for language in _LANGUAGES if (r := _read(language, words, i))]
    return max(readings, key=lambda r: r.length, default=None)


def _read(language: str, words: Sequence[str], i: int) -> Numeral | None:
    table, ordinals = _tables()[language], _tables().get(f"{language} ordinals", {})
    total, current, end, ordinal = 0, 0, i, False
    room, j = 10**15, i
    while j < len(words):
        value = _value(language, table, ordinals, words[j])
        if value is None:
            if not (end > i and words[j] == _CONNECTORS.get(language)):
                break
            j += 1
            continue
        fits = _add(language, current, value, room)
        if fits is None:
            break
        current, room = fits
        if value >= 1000:
            total, current = total + current, 0
        j, end = j + 1, j + 1
        if words[j - 1] in ordinals and words[j - 1] not in table:
            ordinal = True
            break
    if end == i:
        return None
    return Numeral(total + current, end - i, ordinal, weak=end - i == 1 and _is_weak(words[i]))


def _value(language: str, table: Words, ordinals: Words, word: str) -> int | None:
    value = table.get(word, ordinals.get(word))
    if value is None and language == "de":
        return _compound(table, word)
    if value is None and language == "ar" and word.startswith("و"):
        return table.get(word[1:])
    return value


def _add(language: str, current: int, value: int, room: int) -> tuple[int, int] | None:
    """The group's value with one more word, and below what the next word must stay; None where it does not go on."""
    if value >= 1000:
        return (max(current, 1) * value, value) if room > 1 or current else None
    if value == 100:
        return (max(current, 1) * 100, 100) if current < 100 else None
    if language == "fr" and value == 20 and current % 100 == 4:
        return current - 4 + 80, 20
    teens = language == "ar" and value == 10 and 0 < current % 100 < 10
    reversed_tens = language == "ar" and 20 <= value < 100 and 0 < current % 100 < 10
    if teens or reversed_tens:
        return current + value, 1
    if value >= room:
        return None
    if language == "fr" and value in (10, 60):  # dix-sept, soixante-dix
        return current + value, value // 5 + 8
    return current + value, 10 if value >= 20 and value % 10 == 0 else 1


def _compound(table: Words, word: str) -> int | None:
    """A German number written as one word, such as `neunzehnhundertneunzig`."""
    for unit, size in (("tausend", 1000), ("hundert", 100)):
        head, found, tail = word.partition(unit)
        if found:
            many = 1 if not head else table.get(head) if head in table else _compound(table, head)
            rest = 0 if not tail else table.get(tail.removeprefix("und"), _compound(table, tail))
            return None if many is None or rest is None else many * size + rest
    return None


_THAI_NUMERAL = regex.compile("|".join(sorted(map(regex.escape, (*_THAI, *_THAI_UNITS)), key=len, reverse=True)))


def in_characters(text: str) -> Numeral | None:
    """The number that a text begins with, in Han or Thai numerals; `length` in characters."""
    if text[:1] in _HAN or text[:1] in _HAN_UNITS:
        return _han(text)
    if "\u0e00" <= text[:1] <= "\u0e7f":
        return _thai(text)
    return None


def _han(text: str) -> Numeral | None:
    end = 0
    while end < len(text) and (text[end] in _HAN or text[end] in _HAN_UNITS):
        end += 1
    run, after = text[:end], text[end : end + 1]
    if not any(c in _HAN_UNITS for c in run):
        value = int("".join(str(_HAN[c]) for c in run))
    else:
        value = _grouped([(_HAN.get(c), _HAN_UNITS.get(c)) for c in run])
    return Numeral(value, end, weak=end == 1 and after not in _HAN_COUNTED)


def _thai(text: str) -> Numeral | None:
    end, pairs = 0, []
    while match := _THAI_NUMERAL.match(text, end):
        pairs.append((_THAI.get(match[0]), _THAI_UNITS.get(match[0])))
        end = match.end()
    return Numeral(_grouped(pairs), end) if pairs else None


def _grouped(pairs: Sequence[tuple[int | None, int | None]]) -> int:
    """Digits and units, as in `三百二十一`, summed up; units of ten thousand and more multiply what precedes them."""
    total = section = digit = 0
    for value, unit in pairs:
        if value is not None:
            digit = value
        elif unit is not None and unit < 10**4:
            section, digit = section + (digit or 1) * unit, 0
        elif unit is not None:
            total, section, digit = total + (section + digit or 1) * unit, 0, 0
    return total + section + digit
