"""The parts of RippleEdits' rows (arXiv:2307.12976) that single edits and questions of several hops share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ketools.core.requests import EditRequest

Row = Mapping[str, Any]

COMPOSED = ("Compositionality_I", "Compositionality_II")
UNTOUCHED = ("Relation_Specificity", "Forgetfulness")


def is_ripple(row: Row) -> bool:
    """Whether a row is one of RippleEdits."""
    return "edit" in row and any(group in row for group in (*COMPOSED, *UNTOUCHED))


@dataclass(frozen=True)
class RippleTest:
    """A test case. `every`: all its queries must be answered right, else any. `conditions`: first of all these."""

    queries: tuple[Row, ...]
    conditions: tuple[Row, ...]
    every: bool


def tests(row: Row, group: str) -> Iterator[RippleTest]:
    """The test cases of a criterion; queries without an answer are left out, and tests without a query.

    Raises ValueError for a test condition that is neither AND nor OR.
    """
    for test in row.get(group) or []:
        found = RippleTest(_answered(test, "test_queries"), _answered(test, "condition_queries"), _every(test))
        if found.queries:
            yield found


def _answered(test: Row, name: str) -> tuple[Row, ...]:
    return tuple(query for query in test.get(name) or [] if query.get("answers"))


def _every(test: Row) -> bool:
    how = test.get("test_condition") or "OR"
    if how not in ("AND", "OR"):
        raise ValueError(f"a test condition is AND or OR, not {how!r}")
    return bool(how == "AND")


def queries(row: Row, group: str) -> Iterator[Row]:
    """The queries of a criterion that have an answer, each by itself."""
    for test in tests(row, group):
        yield from test.queries


def answers_to(query: Row) -> tuple[str, ...]:
    """Every right answer by every name."""
    named = ((a["value"], *(a.get("aliases") or ())) for a in query["answers"])
    return tuple(dict.fromkeys(str(name) for names in named for name in names if str(name).strip()))


def request_of(edit: Row) -> EditRequest:
    """RippleEdits gives statements, `The name of the spouse of X is Y.`, and no names of their parts.

    Raises ValueError when the parts cannot be told apart.
    """
    words = str(edit["relation"]).lower().replace("_", " ")
    sentence = str(edit["prompt"]).rstrip(".")
    match = re.fullmatch(rf"(.*\b{re.escape(words)} of (.+?) (?:is|are)) (.+)", sentence, re.IGNORECASE)
    match = match or re.fullmatch(r"(.* of (.+?) (?:is|are)) (.+)", sentence)
    if match is None:
        raise ValueError(f"the parts of {sentence!r} cannot be told apart")
    prompt, subject, target = match.groups()
    return EditRequest(subject=subject, prompt=prompt, target_new=target)
