"""Whether an answer states a target, as a person would judge it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache

import regex

from ketools.core.phrases import folded, folding
from ketools.core.sentences import LONGEST, first_statement, sentences
from ketools.knowledge.matching.assertion import asserts
from ketools.knowledge.matching.lists import any_listed, listed
from ketools.knowledge.matching.places import Place, places
from ketools.knowledge.matching.refusals import refuses
from ketools.knowledge.matching.statements import is_asked, spoken
from ketools.knowledge.matching.targets import same_words, ways

LONGEST_TEXT = 20_000
MOST_PLACES = 8
"""How often a statement may name a target before further places are left unread."""


def says(answer: str, target: str, *, old: str | None = None, aliases: Iterable[str] = ()) -> bool:
    """Whether the first statement of an answer states the target or one of its `aliases`.

    The target may stand in a sentence, in any script, inflected, with other case, typography, articles and forms of
    numbers and dates. It must not be denied ("not Lyon"), conceded ("Lyon is nice, but Paris"), set aside
    ("Paris, formerly Lyon"), left open ("Lyon or Paris") or asked ("Is it Lyon?"). With `old`, an answer that
    states the old answer first or together with the target is wrong. A target that refuses ("I don't know.") is
    stated by a refusal in any words.

    What rules cannot tell: a target that is mentioned without a denial before another answer counts, unless that is
    `old`; names in other scripts are `aliases`.
    """
    names = [name for name in (target, *aliases) if name.strip()]
    if any(_is_all(answer, name) for name in names):
        return True
    if names and refuses(target):
        return refuses(answer)
    return any(_states(answer, name, old) for name in names)


def agrees(one: str, other: str) -> bool:
    """Whether two answers say the same: their first statements hold the same words."""
    return same_words(first_statement(one), first_statement(other))


def mentions(text: str, name: str) -> bool:
    """Whether a text holds a name anywhere and in any spelling, denied or not; of a long text, its beginning."""
    if not ways(name):
        return bool(name.strip()) and name.strip() in text
    return bool(places(text[:LONGEST_TEXT], name))


def _is_all(answer: str, name: str) -> bool:
    """Whether the answer, or its first statement, is nothing but the name."""
    if not ways(name):
        return _symbols(name) == _symbols(answer)
    first = first_statement(answer)
    return same_words(answer[:LONGEST], name) or (not is_asked(first) and same_words(first, name))


def _symbols(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _states(answer: str, name: str, old: str | None) -> bool:
    if not ways(name):
        start = answer.find(name.strip())
        return start >= 0 and asserts(answer, Place(start, start + len(name.strip()), 0, 0))
    statement = spoken(answer, max(len(sentences(name)) - 1, 0))
    if same_words(statement, name):
        return True
    if is_asked(statement):
        return False
    named, former = places(statement, name), [] if old is None or same_words(old, name) else places(statement, old)
    stated = [place for place in named[:MOST_PLACES] if not _is_within(place, former) and asserts(statement, place)]
    if not stated:
        return False
    rivals = [place for place in former[:MOST_PLACES] if not _is_within(place, named) and asserts(statement, place)]
    return not any(_comes_first(statement, rival, stated) for rival in rivals)


def _is_within(place: Place, others: Sequence[Place]) -> bool:
    """Whether a place lies inside one of a longer name."""
    return any(
        o.first <= place.first and place.last <= o.last and o.last - o.first > place.last - place.first for o in others
    )


def _comes_first(statement: str, rival: Place, stated: Sequence[Place]) -> bool:
    """Whether the old answer is given as the answer: before the new one, or together with it."""
    first = stated[0]
    if rival.start < first.start:
        return not _only_leads_to(statement[: rival.start], statement[rival.end : first.start])
    between = folded(statement[first.end : rival.start])
    return _together().fullmatch(between) is not None and not _verb().match(folded(statement[rival.end :]))


_IS = folding(r"\b(?:is|was|are|ist|est|es|is called)\b|—|是")


@cache
def _together() -> regex.Pattern[str]:
    between = r"(?:the|in|also|auch|aussi|también|le|la|die|der|das|the city of)?\s*و?"
    return folding(rf"\s*(?:[,/&+;]|,?\s*{listed('joining')})\s*{between}")


@cache
def _verb() -> regex.Pattern[str]:
    return folding(rf"\s*{listed('predicates')}")


@cache
def _leading() -> regex.Pattern[str]:
    return folding(rf"{listed('leading')}\s*(?:the\s+|la\s+|le\s+)?$")


def _only_leads_to(before: str, between: str) -> bool:
    """Whether the old answer belongs to the subject ("the successor of Paris is Lyon"), or is told to be replaced."""
    text = folded(between)
    if any_listed("renamed").search(text):
        return True
    return _leading().search(folded(before)) is not None and _IS.search(text) is not None
