"""Whether a statement denies what it names.

Rules over the clause around a name, for all languages of `data/phrases.txt` together: which language a text is in is
not guessed. Denials that follow their object (Japanese, Turkish, Hindi, Korean) and the verbs of a sentence whose
subject is the name are looked for after it, all others before it.
"""

from __future__ import annotations

from functools import cache

import regex

from ketools.core.phrases import folding
from ketools.knowledge.matching.around import BOUNDARY, Around, without_exceptions
from ketools.knowledge.matching.lists import any_listed, expressions, listed

_INSERTED = folding(r",\s*(?:as|however|of course|in fact|contrary to|wie|comme|como|как)\b[^,]*,\s*$")
_PORTUGUESE = regex.compile(r"[ãõ]|\b(?:não|em|fica|é|uma|dos|nasceu|ao)\b", regex.IGNORECASE)
"""Words of a language in which "no" is a preposition; read in the text as written."""

_RUSSIAN_NOT = regex.compile(r"\s*[-–—]\s*(?:это\s+)?не\s+\p{Ll}")
"""A denied predicate behind the dash that stands for a Russian copula; read in the text as written."""


_ONLY_NO = folding(r"\s*(?:no|not|nicht|nein|pas|non|нет|не|hayır|नहीं|ไม่ใช่|ไม่|不|不是)\s*[.]?\s*")


@cache
def _denying() -> regex.Pattern[str]:
    return folding(rf"(?:{listed('denying')}|(?<!\p{{L}})n')(?:\s*{listed('copulas')})?")


def denied_before(a: Around) -> bool:
    """A denial reaches the name from the left: "not Lyon", "I do not think that it is Lyon", "不是里昂"."""
    left = _reaching(a)
    denials = list(_denying().finditer(left))
    if not denials or (denials[-1][0].startswith("no ") and _PORTUGUESE.search(a.text, 0, a.place.start)):
        return False
    between = left[denials[-1].end() :]
    if any_listed("but").search(between) or (between.startswith(".") and a.is_quantity):  # "No. 5"
        return False
    return not any_listed("copulas").search(between) or any_listed("attitudes").search(left) is not None


def _reaching(a: Around) -> str:
    """The text before the name from which a denial may reach it: its clause, and the one that it depends on."""
    if a.earlier and _subordinate().match(a.left):
        return without_exceptions(BOUNDARY.split(a.earlier.rstrip(" ,;:"))[-1] + " " + a.left)
    if inserted := _INSERTED.search(a.earlier):
        return a.earlier[: inserted.start()] + " " + a.left
    return a.left


@cache
def _subordinate() -> regex.Pattern[str]:
    return folding(rf"\s*{listed('subordinating')}")


def denied_after(a: Around) -> bool:
    """The name's own verb is denied: "Lyon is not the capital", "リヨンではない", "Lyon değil", "ल्यों नहीं"."""
    if _RUSSIAN_NOT.match(a.text, a.place.end) or _ONLY_NO.fullmatch(a.right):
        return True
    found = _first_verb().search(any_listed("cutting off").split(a.right, maxsplit=1)[0])
    return found is not None and found.lastgroup == "no"


@cache
def _first_verb() -> regex.Pattern[str]:
    """The first of: a conjunction that ends the name's predicate; a denial of it (the group `no`); a verb."""
    contrast = rf"{listed('contrast after')}(?=\s*(?:\S+\s*){{1,4}}$)(?!.*{listed('copulas')})"
    no = rf"(?<!\p{{L}}){expressions('denying after spaced')}|{expressions('denying after unspaced')}"
    turkish = r"(?:^|(?<='))(?:dir|dur|tir|tur)(?!\p{L})"
    return folding(rf"(?:{contrast}|{listed('opening clauses')})|(?P<no>{no})|(?:{listed('copulas')}|{turkish})")


def replaced(a: Around) -> bool:
    """The name is followed by "was replaced by", "used to be" and the like."""
    found = any_listed("replaced").search(a.right)
    return found is not None and len(a.right[: found.start()].split()) < 3


def called_wrong(a: Around) -> bool:
    """Its clause, or a pronoun after it, calls it wrong: "Lyon is the wrong answer", "Lyon, c'est faux"."""
    return _wrong().match(a.right) is not None or _wrong_later().match(a.after) is not None


@cache
def _wrong() -> regex.Pattern[str]:
    words = r"(?:(?!(?:and|und|et|y)\b)\S+\s+){0,4}?(?:\S*?[\p{Han}\p{Hiragana}\p{Thai}])?"
    return folding(rf"[\s—–-]*{words}{listed('wrong')}")


@cache
def _wrong_later() -> regex.Pattern[str]:
    return folding(rf"\s*[,;:–—-]+\s*{listed('pointing back')}\s*(?:\S+\s+){{0,2}}?{listed('wrong')}")


def corrected(a: Around) -> bool:
    """The speaker takes it back: "Lyon, no wait, Paris"."""
    return _correction().match(a.after) is not None


@cache
def _correction() -> regex.Pattern[str]:
    return folding(rf"\s*[,.…–—-]+\s*{listed('corrections')}|\s*,\s*no,")


def denies(text: str) -> bool:
    """Whether a folded clause holds a denial, wherever it stands."""
    return (
        _denying().search(without_exceptions(text)) is not None
        or any_listed("denying at the end").search(text) is not None
    )
