"""Plain text: cleaning, comparison form, and whether a prompt is a question."""

from __future__ import annotations

import re
import unicodedata

from ketools.core.questions import is_question

__all__ = ["clean_text", "is_question", "normalise"]


def clean_text(text: str) -> str:
    """Strip outer space and refuse control characters, which would break prompts and logs."""
    text = unicodedata.normalize("NFC", text).strip()
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text):
        raise ValueError("control characters are not allowed; send plain text")
    if not text:
        raise ValueError("must not be empty")
    return text


def normalise(text: str) -> str:
    """Lower-case, single-spaced, without closing punctuation: how answers and keys are compared."""
    return re.sub(r"\s+", " ", text).strip(" .!?,;:").lower()
