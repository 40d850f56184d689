"""Texts within a budget of tokens, where no tokenizer is at hand."""

from __future__ import annotations

import re
from collections.abc import Sequence


def token_estimate(text: str) -> int:
    """About how many tokens a language model reads the text as, rather too many than too few.

    Counts a token per four letters of a word, per digit, per sign, and two per character outside ASCII.
    """
    words = sum(-(-len(word) // 4) for word in re.findall(r"[A-Za-z]+", text))
    single = len(re.findall(r"[^A-Za-z\s]", text))
    return words + single + sum(ord(character) > 127 for character in text)


def clip(text: str, tokens: int) -> str:
    """The text on one line, cut to about that many tokens, with an ellipsis where something is missing."""
    text = " ".join(text.split())
    if token_estimate(text) <= tokens:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if token_estimate(text[:middle]) < tokens else (low, middle - 1)
    return f"{text[:low].rstrip()}…"


def few(rows: Sequence[str], tokens: int, rest: str) -> list[str]:
    """The first rows that fit into the budget, and a line that says how many are left out; `rest`: what they are."""
    shown: list[str] = []
    for row in rows:
        tokens -= token_estimate(row)
        if tokens < 0:
            break
        shown.append(row)
    left = len(rows) - len(shown)
    return [*shown, *([f"({left} {rest})"] if left else [])]
