"""Where sentences end, in any script."""

from __future__ import annotations

import regex

LONGEST = 2000
"""Characters of an answer that are read."""

_CLOSING = r"[\"'”’»)\]』」》]*"
_STOP = regex.compile(rf"\n|[.!?…。！？｡．؟۔।॥።។]+{_CLOSING}")
_NEXT_WORD = regex.compile(r"[\s\"'“‘«(\[]*([\p{L}\p{M}]+|\p{N}+)")
_LAST_WORD = regex.compile(r"(?V1)(?:[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}]]+\.)*[[\p{L}\p{M}\p{N}'-]--[\p{Han}\p{Hiragana}]]+$")
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}]")
_INITIALS = regex.compile(r"(?:[\p{L}]\.)*\p{L}")
_ROMAN = regex.compile(r"[IVXLCDM]+")

_STARTERS = frozenset(
    "the it he she they we you i this that these those there its his her their our my in on at as for from with by "
    "while although though however but and or because since when where if also moreover nevertheless is was are "
    "es er sie das dies die der ein eine im am und aber il elle ils elles ce cette le la les un une el ella este esta "
    "los las en y pero он она это оно они в на и но bu o ve".split()
)
"""Words that begin a sentence after an abbreviation and are no part of a name."""

_ABBREVIATIONS = frozenset(
    "dr mr mrs ms messrs st sts ste prof sr jr mt ft gen col sgt capt cpt lt cmdr rev hon gov sen rep pres supt adm "
    "mme mlle mm mgr hr fr frl dott sig sra srta dña ud vs v inc ltd co corp bros dept univ est ave blvd rd etc ca "
    "cca approx al bzw usw ggf z.b d.h u.a e.g i.e cf geb gest str ул г гг им т св ст проф др р в вв н sn yrd doç bkz "
    "op ph hl ing mag dipl ibid nat intl natl assn alt aka a.k.a b d m fl".split()
)
_BEFORE_NUMBERS = frozenset(
    "no nos nr núm num vol fig p pp ch art sec op ed jan feb mar apr jun jul aug sep sept oct nov dec ene abr ago dic "
    "janv févr avr juil déc".split()
)
_AFTER_ORDINALS = frozenset(
    "januar februar märz april mai juni juli august september oktober november dezember jahrhundert jahrhunderts jh "
    "jahrestag platz klasse tag mal weltkrieg kapitel bezirk".split()
)
"""German nouns before which a number with a dot is an ordinal."""

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
            return match.end()
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
    return _dot_ends(text[:start], text, end)


def _dot_ends(before: str, text: str, end: int) -> bool:
    found = _NEXT_WORD.match(text, end)
    following = found[1] if found else ""
    starts = following.lower() in _STARTERS
    last = _LAST_WORD.search(before)
    word = last[0] if last else ""
    if following and not text[end].isspace():
        return (starts and following[0].isupper() and len(word) > 2) or _HAN.match(following) is not None
    if text[end : end + 2].strip(" ") == "\n":
        return True
    return _word_ends(word, before, following, starts)


def _word_ends(word: str, before: str, following: str, starts: bool) -> bool:
    """Whether a dot after `word` and before a space ends the statement."""
    lowered = word.lower()
    if word.isdigit():
        listed = before.strip() == word and len(word) < 3
        return not (listed or following[:1].islower() or following.lower() in _AFTER_ORDINALS)
    if lowered in _BEFORE_NUMBERS and following.isdigit():
        return False
    if _INITIALS.fullmatch(word) or lowered in _ABBREVIATIONS:
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
