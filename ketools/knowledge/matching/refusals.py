"""Whether an answer says that it does not know."""

from __future__ import annotations

from functools import cache, lru_cache

import regex

from ketools.core.phrases import folded, folding
from ketools.core.sentences import LONGEST, first_statement
from ketools.knowledge.matching.lists import any_listed, expressions, listed
from ketools.knowledge.matching.statements import spoken

_EDGES = " \n\t.!?,;:-\"'()*_`。！？"
_CLAUSE_END = regex.compile(r"[,;.]")
_LITTLE = r"(?:\s+\p{L}+){0,2}?"
"""Adverbs between a speaker and the verb ("I really do not know")."""


@lru_cache(maxsize=8192)
def refuses(answer: str) -> bool:
    """Whether an answer says that it does not know, or may not tell, and gives no answer after all."""
    answer = answer.strip()[:LONGEST]
    statement = folded(spoken(answer)).strip(_EDGES)
    if not statement:
        return False
    if any_listed("unknown").fullmatch(statement) or _is_refusal(statement):
        return True
    first = first_statement(answer)
    rest = answer[len(first) :].strip()
    return bool(rest) and _apology().fullmatch(folded(first).strip(_EDGES)) is not None and refuses(rest)


def _apologies() -> str:
    """Any number of apologies, with what follows them."""
    return rf"(?:{listed('apologies')}[\s,.!:–—-]*(?:{listed('but')})?[\s,]*)*"


@cache
def _apology() -> regex.Pattern[str]:
    return folding(_apologies())


@cache
def _refusing() -> regex.Pattern[str]:
    speaker = rf"{listed('speakers')}{_LITTLE}\s+{listed('unable')}"
    return folding(rf"{_apologies()}(?:(?P<speaker>{speaker})|{expressions('refusing expressions')})")


def _is_refusal(statement: str) -> bool:
    found = _refusing().match(statement)
    if found is None:
        return False
    rest = statement[found.end() :]
    if found["speaker"] and not _is_about_knowing(found["speaker"], rest):
        return False
    return not _guesses(rest)


def _is_about_knowing(refusal: str, rest: str) -> bool:
    clause = _CLAUSE_END.split(rest, maxsplit=1)[0]
    return any_listed("knowing").search(f"{refusal} {clause}") is not None


@cache
def _goes_on() -> regex.Pattern[str]:
    return folding(
        rf"(?:[,;.…–—-]+|\s)\s*(?=(?:{listed('but')}|{listed('guessing')}))(?:{listed('but')})?(?P<rest>.*)$"
    )


def _guesses(rest: str) -> bool:
    """Whether an answer follows all the same: "I'm not sure, but I think it is Lyon"."""
    found = _goes_on().search(rest)
    if found is None or not any_listed("guessing").search(found["rest"]):
        return False
    return not (_refusing().match(found["rest"].strip(" ,")) or any_listed("offering").search(found["rest"]))
