"""The packaged phrases by which languages state, deny, concede and refuse."""

from __future__ import annotations

from functools import cache

import regex

from ketools.core.phrases import any_of, folding, phrases, sections

PACKAGE = "ketools.knowledge.matching"


def listed(name: str) -> str:
    """A section of `data/phrases.txt` as the alternatives of a regular expression for folded text."""
    return phrases(sections(PACKAGE)[name])


@cache
def any_listed(name: str) -> regex.Pattern[str]:
    """Finds any phrase of a section in folded text."""
    return any_of(sections(PACKAGE)[name])


@cache
def expressions(name: str) -> str:
    """A section of regular expressions, one a line, as alternatives."""
    return f"(?:{'|'.join(sections(PACKAGE)[name].splitlines())})"


@cache
def any_expression(name: str) -> regex.Pattern[str]:
    """Finds any expression of a section in folded text."""
    return folding(expressions(name))
