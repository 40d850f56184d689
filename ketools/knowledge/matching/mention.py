"""Whether a statement only mentions what it names: as past, conceded, left open, an aside or what is asked about."""

from __future__ import annotations

from functools import cache

import regex

from ketools.core.phrases import folded, folding
from ketools.knowledge.matching.around import Around
from ketools.knowledge.matching.denial import denies
from ketools.knowledge.matching.lists import any_listed, listed

# --- past and nearly ---

_INTO = folding(r"\s*(?:to|into|nach|zu|a|в|на)\s")
_FROM = folding(r"(?<!\p{L})(?:from|von|de|из|da)\s+$")
_WORDS = regex.compile(r"[\p{L}\p{M}\p{N}]+")
_FILLERS = frozenset(
    ("it", "is", "was", "the", "a", "this", "that", "which", "city", "capital", "answer", "name", "now")
)


@cache
def _before_name(section: str) -> regex.Pattern[str]:
    """A phrase of a section right before the name, words of naming between them ("formerly known as")."""
    return folding(rf"{listed(section)}(?:\s*{listed('naming')}|\s+\p{{L}}+ed)*\s*$")


@cache
def _compared() -> regex.Pattern[str]:
    degrees = r"(?:plus|moins|mas|menos|mayor|menor|mejor|mehr|weniger|\p{L}{3,}er)\s+(?:\S+\s+){0,2}(?:que|als)"
    return folding(rf"(?:{listed('compared')}|(?<!\p{{L}}){degrees})(?:\s*(?:the|a|an|der|die|das|la|le|el))?\s*$")


@cache
def _once_after() -> regex.Pattern[str]:
    return folding(rf"\s*{listed('once')}")


def former(a: Around) -> bool:
    """It was the answer before another that the statement gives: "Paris (formerly Lyon)", "from Lyon to Paris"."""
    if a.is_quantity:
        return False
    if _compared().search(a.left) or (_FROM.search(a.left) and _INTO.match(a.right)):
        return True
    is_past = _before_name("formerly").search(a.left) or _once_after().match(a.right)
    return is_past is not None and _gives_another(a)


def _gives_another(a: Around) -> bool:
    """Whether another part of the statement may give another answer."""
    return not set(_WORDS.findall(a.earlier)) <= _FILLERS or any_listed("now").search(a.after) is not None


def nearly(a: Around) -> bool:
    """It did not become the answer: "It was almost called Lyon"."""
    return not a.is_quantity and _before_name("nearly").search(a.left) is not None


# --- concessions ---

_ONLY_COPULA = folding(
    r"[\s,\"']*(?:です|だ|である|でした|है|हैं|था|dir|dur|tir|tur|입니다|이다|이지|이고|ที่|คะ|ครับ)?(?:が|けど|ですが)?[\s,\"']*"
)
_DEFINITE = folding(
    r"\s*(?:is|was|are|ist|war|est|etait|es|fue|era|e)\s+(?:still\s+|indeed\s+|now\s+)?"
    r"(?:the|die|der|das|la|le|el|l')(?!\p{L})"
)
"""A predicate that answers: "Lyon is the capital, but Paris is larger"."""

_NAME = regex.compile(r"(?<![\p{L}.])\p{Lu}[\p{L}\p{M}]+")


def granted(a: Around) -> bool:
    """Its clause is conceded: "Although Lyon is larger, ..."."""
    return _conceding().match(a.left) is not None


@cache
def _conceding() -> regex.Pattern[str]:
    return folding(rf"\s*{listed('conceding')}(?!\s+\p{{L}}+ing\b)")


def conceded(a: Around) -> bool:
    """A contrast with another answer follows: "Lyon is nice, but the capital is Paris"."""
    found = any_listed("but").search(a.after)
    if found is None:
        return False
    predicate, other = a.after[: found.start()], a.after[found.end() :]
    if not _names_another(other, a):
        return False
    if any_listed("others think").search(a.left) or _actually().match(other):
        return True
    return not (_ONLY_COPULA.fullmatch(predicate) or _DEFINITE.match(predicate))


@cache
def _actually() -> regex.Pattern[str]:
    return folding(rf"\s*,?\s*{listed('actually')}")


def _names_another(other: str, a: Around) -> bool:
    """Whether what follows a "but" gives another answer."""
    if not other.strip(" .,!") or folded(a.name) in other or any_listed("others think").search(other) or denies(other):
        return False
    if any_listed("comparing").search(other):
        return False
    has_case = any(c.isupper() for c in a.text)
    return not has_case or any(m[0] not in a.name for m in _NAME.finditer(a.text, a.place.end))


# --- alternatives ---

_SHORT_OR_AFTER = regex.compile(r"\s+(?:o\s+\p{Lu}|ou\s+\p{L})")
_SHORT_OR_BEFORE = regex.compile(r"(?<!\p{L})\p{Lu}\p{L}+\s+ou?\s+$")
"""Spanish and French "or", as written: "où" is another word, and so is a Portuguese article."""


def left_open(a: Around) -> bool:
    """The statement leaves it open: "Lyon or Paris", "里昂或巴黎"."""
    start, end = a.place.start, a.place.end
    if _SHORT_OR_AFTER.match(a.text, end) or _SHORT_OR_BEFORE.search(a.text, max(0, start - 60), start):
        return True
    after, before = _or_after().match(a.right), _or_before().search(a.left)
    return any(found and not _is_alike(found["other"], a.name) for found in (after, before))


@cache
def _or_after() -> regex.Pattern[str]:
    either = rf"(?!或许)(?:{listed('alternatives')}|か(?=[\p{{Han}}\p{{Katakana}}]))"
    return folding(rf"\s*{either}\s*(?!so\b|thereabouts|more\b|less\b)(?P<other>\p{{L}}+|\d+)")


@cache
def _or_before() -> regex.Pattern[str]:
    either = rf"(?:{listed('alternatives')}|(?<=[\p{{Han}}\p{{Katakana}}ー])か)"
    return folding(rf"(?P<other>(?!(?:more|whether|sooner)\b)[\p{{L}}\p{{M}}\d']+)\s*{either}\s*(?:the\s+|an?\s+)?$")


def _is_alike(other: str, name: str) -> bool:
    """Whether an alternative is another form of the name ("Lyon or Lyons")."""
    return other[:4] == folded(name)[:4]


# --- asides and subjects ---


def beside(a: Around) -> bool:
    """A later part of the statement only places the answer: "Paris, near Lyon"."""
    return _WORDS.search(a.earlier) is not None and _aside().match(a.left) is not None


@cache
def _aside() -> regex.Pattern[str]:
    noun = r"(?:(?:a|an|the|eine?|une?|un|una)\s+\p{L}+\s+)?"
    return folding(rf"\s*{noun}{listed('asides')}(?:\s*{listed('naming')})*\s*$")


_OF_BEFORE = folding(
    r"(?:^\s*(?:(?:the|a|la|le|die|der|das|el)\s+)?(?P<noun>[\p{L}\p{M}]+)|\s[\p{L}\p{M}]+)\s+"
    r"(?:(?P<of>of|de|du|des|d'|del|della|di|von|vom)|for|in|from|after|before|following|nach|vor|après|avant"
    r"|después\s+de|antes\s+de)\s*(?:the\s+|la\s+|le\s+|l'|los\s+)?$"
)
_IS_AFTER = folding(r"\s*(?:is|was|are|were|est|etait|es|era|fue|ist|war|e)\s+\S")
_OWNED = folding(
    r"'s?\s+(?!the\s|a\s|an\s|not\s|in\s|called|located|my\s|now\s)(?:\S+\s+){1,6}?(?:is|was|are|were)\s"
    r"|的[^,。]*?(?:是|为|叫)|の[^,]*?は|의\s+\S+[은는이가]\s|(?:का|की|के)\s+(?:\S+\s+){2,}(?:है|हैं|था|थी)\s*[.।]?$"
    r"|'?n?[iu]n\s+(?:\S+\s+)+\S+$"
)
_THAI_OF = regex.compile(r"ของ(?:ประเทศ|เมือง|กรุง)?\s*$")
_THAI_IS = regex.compile(r"\s*(?:คือ|เป็น|ชื่อ)\s*\S")
_ARABIC_IS = folding(r"\s+(?:هي|هو)\s+\S")
_ARABIC_NOUN = folding(r"(?:^|\s)(?!مدين|دول|جمهوري|هي|هو|ان|إن|لكن)\p{Arabic}+\s+$")


def only_subject(a: Around) -> bool:
    """What is asked of it has another answer: "The twin city of Lyon is Paris", "里昂的首都是巴黎"."""
    if not any_listed("copulas").search(a.before):
        of = _OF_BEFORE.search(a.left)
        is_named = of is not None and of["of"] and any_listed("apposed").fullmatch(of["noun"] or "")
        if (of and not is_named and _IS_AFTER.match(a.right)) or _OWNED.match(a.right):
            return True
    if _THAI_OF.search(a.left) and _THAI_IS.match(a.right):
        return True
    return _ARABIC_NOUN.search(a.left) is not None and _ARABIC_IS.match(a.right) is not None
