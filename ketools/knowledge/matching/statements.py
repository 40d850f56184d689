"""Which of an answer's statements is the answer."""

from __future__ import annotations

from functools import lru_cache

import regex

from ketools.core.phrases import folded
from ketools.core.sentences import LONGEST, cut
from ketools.knowledge.matching.lists import any_listed

_MARKUP = regex.compile(r"(?m)^\s*(?:[-*•>#]+|\d{1,2}[.)])\s+|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|^#+\s*")

_TAG = regex.compile(
    r",\s*(?:right|correct|isn['’]t it|is it not|no|oder|nicht wahr|n['’]est-ce pas|verdad|не так ли|да|değil mi"
    r"|对吧|对吗|是吧|是吗|أليس كذلك|है ना|ใช่ไหม)\s*[?？؟]\s*$"
)
"""A question behind a statement: "It is Lyon, isn't it?"."""


def _bare(text: str) -> str:
    return folded(text).strip(" \n\t.!?,;:-\"'()")


def is_asked(statement: str) -> bool:
    """Whether a statement ends in a question mark."""
    return statement.rstrip("\"'”’»)]』」》 .!！。").endswith(("?", "？", "؟", "՞"))


@lru_cache(maxsize=8192)
def spoken(answer: str, more: int = 0) -> str:
    """The statement that answers: the first that is no lead-in ("Sure!", "Answer:") and no question.

    A question that the answer affirms is stated ("Is it Lyon? Yes."); one that nothing follows is returned as it is.
    `more`: how many further statements belong to it, for targets that hold sentence ends themselves.
    """
    rest: str = _TAG.sub("", _MARKUP.sub("", answer.strip()[:LONGEST]).strip())
    for _ in range(4):
        end = cut(rest)
        statement, after = rest[:end].strip(), rest[end:].strip()
        if not after or not _is_lead_in(statement):
            break
        if is_asked(statement) and any_listed("affirmations").fullmatch(_bare(after[: cut(after)])):
            return statement.rstrip("?？؟ ")
        rest = after
    return _several(rest, more)


def _is_lead_in(statement: str) -> bool:
    if statement.endswith((":", "：")) or is_asked(statement):
        return True
    return any_listed("lead ins").fullmatch(_bare(statement)) is not None


def _several(text: str, more: int) -> str:
    end = 0
    for _ in range(more + 1):
        end += cut(text[end:])
    return text[:end].strip()
