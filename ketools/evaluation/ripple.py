"""The parts of RippleEdits' rows (arXiv:2307.12976) that single edits and questions of several hops share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ketools.edits import EditRequest

Row = Mapping[str, Any]

COMPOSED = ("Compositionality_I", "Compositionality_II")
UNTOUCHED = ("Relation_Specificity", "Forgetfulness")


def is_ripple(row: Row) -> bool:
    """Whether a row is one of RippleEdits."""
    return "edit" in row and any(group in row for group in (*COMPOSED, *UNTOUCHED))


def queries(row: Row, group: str) -> Iterator[Row]:
    """The queries of a criterion that have an answer."""
    for test in row.get(group) or []:
        yield from (query for query in test.get("test_queries") or [] if query.get("answers"))


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
