"""A name in a statement and the folded text around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import regex

from ketools.core.phrases import folded
from ketools.knowledge.matching.lists import any_listed
from ketools.knowledge.matching.places import Place
from ketools.knowledge.matching.tokens import tokens

WINDOW = 240
"""Characters of a clause that are read on either side of a name; twice as many of the statement."""

BOUNDARY = regex.compile(r"[,;:()!?\[\]…]|\.{2,}|\s+(?=ไม่ใช่|มิใช่)|(?<=\s)[-–—]+(?=\s)|—")


@dataclass(frozen=True)
class Around:
    """A place in a statement of `plain` text.

    `left` and `right`: the rest of its clause, without phrases that hold a denying word and deny nothing; `before` and
    `after`: the rest of the statement; `earlier`: the statement before the clause.
    """

    text: str
    place: Place

    @cached_property
    def name(self) -> str:
        return self.text[self.place.start : self.place.end]

    @cached_property
    def _clause(self) -> tuple[int, int]:
        start, end = 0, len(self.text)
        for match in BOUNDARY.finditer(self.text):
            if _is_inside_number(self.text, match.start()):
                continue
            if match.end() <= self.place.start:
                start = match.end()
            elif match.start() >= self.place.end:
                end = match.start()
                break
        return start, end

    @cached_property
    def left(self) -> str:
        start = max(self._clause[0], self.place.start - WINDOW)
        return without_exceptions(folded(self.text[start : self.place.start]))

    @cached_property
    def right(self) -> str:
        end = min(self._clause[1], self.place.end + WINDOW)
        return without_exceptions(folded(self.text[self.place.end : end]))

    @cached_property
    def before(self) -> str:
        return folded(self.text[max(0, self.place.start - 2 * WINDOW) : self.place.start])

    @cached_property
    def after(self) -> str:
        return folded(self.text[self.place.end : self.place.end + 2 * WINDOW])

    @cached_property
    def earlier(self) -> str:
        return folded(self.text[max(0, self._clause[0] - 2 * WINDOW) : self._clause[0]])

    @cached_property
    def is_quantity(self) -> bool:
        """Whether it is a number or date: "almost 1000" and "until 1990" tell it."""
        return any(token.values or token.days for token in tokens(self.name))


def without_exceptions(text: str) -> str:
    """A folded text without the phrases that hold a denying word and deny nothing ("not only", "no doubt")."""
    found: str = any_listed("not denying").sub(" ", text)
    return found


def _is_inside_number(text: str, i: int) -> bool:
    return 0 < i < len(text) - 1 and text[i - 1].isdigit() and text[i + 1].isdigit()
