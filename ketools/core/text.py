"""Plain text: cleaning and comparison form."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_BREAKS = re.compile(r"\r\n?|[\x85\u2028\u2029]")


def clean_text(text: str) -> str:
    """The text in NFC, without outer space and with plain line breaks. Raises ValueError for control characters."""
    text = _BREAKS.sub("\n", unicodedata.normalize("NFC", text)).strip()
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text):
        raise ValueError("control characters are not allowed; send plain text")
    if not text:
        raise ValueError("must not be empty")
    return text


def normalise(text: str) -> str:
    """Lower-case, single-spaced, without closing punctuation: how answers and keys are compared."""
    return re.sub(r"\s+", " ", text).strip(" .!?,;:").lower()


def word_list(text: str) -> tuple[str, ...]:
    """The words of a constant written with spaces between them."""
    return tuple(text.split())


def word_set(text: str) -> frozenset[str]:
    """The words of a constant written with spaces between them, without order."""
    return frozenset(text.split())


def digest(*parts: object) -> int:
    """A number that depends on the parts alone, the same on every machine."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC", "FULLWIDTH")


def gap(before: str) -> str:
    """What separates a text from its continuation: a space, or nothing behind a script that writes without spaces."""
    last = before[-1:]
    return "" if last.isspace() or unicodedata.name(last or " ", "").startswith(_UNSPACED) else " "
