"""Normalised exact match, the strict measure of open question answering."""

from __future__ import annotations

import unicodedata

import regex

_ARTICLES = regex.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = regex.compile(r"[\p{P}$+<=>^`|~]")


def exact_match(answer: str, target: str) -> bool:
    """Whether two texts are equal in lower case, without punctuation, articles and repeated space (SQuAD)."""
    return _normalised(answer) == _normalised(target)


def _normalised(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub("", plain)).split())
