"""Whether an answer states a target."""

from __future__ import annotations

import re

from ketools.core.text import normalise


def says(answer: str, target: str, *, old: str | None = None) -> bool:
    """Whether a greedy answer gives the target: equal to it, or a sentence that states it.

    Case, outer space and closing punctuation do not count. A longer answer counts only when its first
    sentence ends with the target, so that "Lyon is nice, but Paris" is no "Lyon".
    """
    got, want = normalise(answer), normalise(target)
    if got == want:
        return True
    first = normalise(re.split(r"(?<=[.!?])\s|\n", answer.strip(), maxsplit=1)[0])
    return bool(want) and (first == want or re.search(rf"\b{re.escape(want)}$", first) is not None)


def first_statement(text: str) -> str:
    """An answer up to its first stop: the end of a sentence, or a new line."""
    return re.split(r"(?<=[.!?。！？])\s|\n", text.strip(), maxsplit=1)[0]


def exact_match(answer: str, target: str) -> bool:
    """Equal in lower case, without articles and closing punctuation."""
    got, want = (re.sub(r"\b(a|an|the)\b", " ", normalise(one)).split() for one in (answer, target))
    return got == want
