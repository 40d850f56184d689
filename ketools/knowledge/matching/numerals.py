"""Numbers in digits and in words, in the languages of the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import regex

from ketools.core.names import fold

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

_ENGLISH = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_ENGLISH_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_GERMAN = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
)
_GERMAN_ORDINALS = (
    "nullte erste zweite dritte vierte fünfte sechste siebte achte neunte zehnte elfte zwölfte dreizehnte vierzehnte "
    "fünfzehnte sechzehnte siebzehnte achtzehnte neunzehnte"
)
_FRENCH = "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
_SPANISH = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete "
    "veintiocho veintinueve"
)
_RUSSIAN = (
    "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать "
    "пятнадцать шестнадцать семнадцать восемнадцать девятнадцать"
)
_TURKISH = "sıfır bir iki üç dört beş altı yedi sekiz dokuz on"
_ARABIC = (
    "صفر واحد اثنان ثلاثة أربعة خمسة ستة سبعة ثمانية تسعة عشرة",
    "صفر واحدة اثنين ثلاث أربع خمس ست سبع ثماني تسع عشر",
)
_HINDI = (
    "शून्य एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस बीस इक्कीस बाईस तेईस "
    "चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस चालीस "
    "इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन "
    "सत्तावन अट्ठावन उनसठ साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर "
    "पचहत्तर छिहत्तर सतहत्तर अठहत्तर उनासी अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी नवासी नब्बे "
    "इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे"
)
_LARGER: Mapping[str, str] = {
    "en": "twenty=20 thirty=30 forty=40 fourty=40 fifty=50 sixty=60 seventy=70 eighty=80 ninety=90 hundred=100 "
    "thousand=1000 million=1000000 billion=1000000000 trillion=1000000000000 dozen=12",
    "en-th": "twentieth=20 thirtieth=30 fortieth=40 fiftieth=50 sixtieth=60 seventieth=70 eightieth=80 ninetieth=90 "
    "hundredth=100 thousandth=1000",
    "de": "ein=1 eine=1 zwo=2 hundert=100 einhundert=100 tausend=1000 eintausend=1000 million=1000000 "
    "millionen=1000000 milliarde=1000000000 milliarden=1000000000 dutzend=12",
    "fr": "une=1 vingt=20 vingts=20 trente=30 quarante=40 cinquante=50 soixante=60 septante=70 huitante=80 nonante=90 "
    "cent=100 cents=100 mille=1000 million=1000000 millions=1000000 milliard=1000000000 milliards=1000000000 "
    "douzaine=12",
    "es": "un=1 una=1 treinta=30 cuarenta=40 cincuenta=50 sesenta=60 setenta=70 ochenta=80 noventa=90 cien=100 "
    "ciento=100 doscientos=200 doscientas=200 trescientos=300 trescientas=300 cuatrocientos=400 quinientos=500 "
    "seiscientos=600 setecientos=700 ochocientos=800 novecientos=900 mil=1000 millón=1000000 millones=1000000",
    "ru": "одна=1 одно=1 две=2 двадцать=20 тридцать=30 сорок=40 пятьдесят=50 шестьдесят=60 семьдесят=70 "
    "восемьдесят=80 девяносто=90 сто=100 двести=200 триста=300 четыреста=400 пятьсот=500 шестьсот=600 семьсот=700 "
    "восемьсот=800 девятьсот=900 тысяча=1000 тысячи=1000 тысяч=1000 миллион=1000000 миллиона=1000000 "
    "миллионов=1000000 миллиард=1000000000 миллиарда=1000000000 миллиардов=1000000000 двух=2 трех=3 пяти=5 "
    "двенадцати=12 десяти=10",
    "tr": "yirmi=20 otuz=30 kırk=40 elli=50 altmış=60 yetmiş=70 seksen=80 doksan=90 yüz=100 bin=1000 milyon=1000000 "
    "milyar=1000000000 düzine=12",
    "ar": "أحد=1 إحدى=1 اثنا=2 اثنتا=2 اثنتان=2 ثمان=8 عشرون=20 عشرين=20 ثلاثون=30 ثلاثين=30 أربعون=40 أربعين=40 "
    "خمسون=50 خمسين=50 ستون=60 ستين=60 سبعون=70 سبعين=70 ثمانون=80 ثمانين=80 تسعون=90 تسعين=90 مئة=100 مائة=100 "
    "مئتان=200 مائتان=200 مئتين=200 ألف=1000 آلاف=1000 ألفان=2000 ألفين=2000 مليون=1000000 ملايين=1000000 "
    "مليار=1000000000",
    "hi": "पांच=5 छः=6 छे=6 पन्द्रह=15 सौ=100 हज़ार=1000 हजार=1000 लाख=100000 करोड़=10000000 मिलियन=1000000 "
    "अरब=1000000000 दर्जन=12",
}
_CONNECTORS = {"en": {"and"}, "fr": {"et"}, "es": {"y"}, "ar": {"و"}}

_WEAK = frozenset(
    "un une una uno ein eine bir on once bin elf sei mil cent mille kirk yuz uc alti neuf sept second एक दो واحد واحده "
    "احد ست один одна одно".split()
)
"""Number words that are other words as well, often of another language: they count only at the end of a clause."""

_THAI = {"ศูนย์": 0, "หนึ่ง": 1, "เอ็ด": 1, "สอง": 2, "ยี่": 2, "สาม": 3, "สี่": 4, "ห้า": 5, "หก": 6, "เจ็ด": 7, "แปด": 8, "เก้า": 9}
_THAI_UNITS = {"สิบ": 10, "ร้อย": 100, "พัน": 1000, "หมื่น": 10000, "แสน": 100000, "ล้าน": 1000000}
_HAN = dict(zip("零〇一二三四五六七八九", (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9), strict=True)) | {"两": 2, "兩": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN_COUNTED = frozenset("个個名位人年月日岁歲次座条條只颗顆枚本部届号號层層天小时時分米公里つ歳回世世纪紀")


@cache
def _tables() -> Mapping[str, Words]:
    """Of each language, folded number words and their values; `-th` marks ordinals."""
    found: dict[str, dict[str, int]] = {}
    counted = {
        "en": (_ENGLISH,), "en-th": (_ENGLISH_ORDINALS,), "de": (_GERMAN,), "de-th": (_GERMAN_ORDINALS,),
        "fr": (_FRENCH,), "es": (_SPANISH,), "ru": (_RUSSIAN,), "tr": (_TURKISH,), "ar": _ARABIC, "hi": (_HINDI,),
    }  # fmt: skip
    for language, lists in counted.items():
        found[language] = {fold(word): i for words in lists for i, word in enumerate(words.split())}
    for language, listed in _LARGER.items():
        pairs = (pair.split("=") for pair in listed.split())
        found[language] |= {fold(word): int(value) for word, value in pairs}
    found["de"] |= _german_tens()
    return found


def _german_tens() -> dict[str, int]:
    tens = dict(zip("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split(), range(20, 100, 10), strict=True))
    units = dict(zip("ein zwei drei vier fünf sechs sieben acht neun".split(), range(1, 10), strict=True))
    both = {f"{unit}und{ten}": u + t for unit, u in units.items() for ten, t in tens.items()}
    return {fold(word): value for word, value in (tens | both).items()}


@cache
def _known() -> frozenset[str]:
    return frozenset(word for table in _tables().values() for word in table)


def in_words(words: Sequence[str], i: int) -> Numeral | None:
    """The number that the folded words from `i` on spell in one language; the longest reading."""
    if words[i] not in _known() and "hundert" not in words[i] and "tausend" not in words[i]:
        return None
    readings = [r for language in _tables() if "-" not in language and (r := _read(language, words, i))]
    return max(readings, key=lambda r: r.length, default=None)


def _read(language: str, words: Sequence[str], i: int) -> Numeral | None:
    table, ordinals = _tables()[language], _tables().get(f"{language}-th", {})
    total, current, end, ordinal = 0, 0, i, False
    room, j = 10**15, i
    while j < len(words):
        value = _value(language, table, ordinals, words[j])
        if value is None:
            if not (end > i and words[j] in _CONNECTORS.get(language, ())):
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
    return Numeral(total + current, end - i, ordinal, weak=end - i == 1 and words[i] in _WEAK)


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
