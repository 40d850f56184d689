"""Plain text: cleaning, comparison form, and whether a prompt is a question."""

from __future__ import annotations

import re
import unicodedata

_BREAKS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_ENDS = tuple("?.!？。！؟۔।॥…‽՞።፧")
_UNMARKED = re.compile(
    r"(?:吗|呢|ですか|ますか|でしょうか|까요|나요|อะไร|ไหน|ใคร|เท่าไร|เท่าไหร่|เมื่อไร|เมื่อใด|ใด|ไหม|หรือไม่|กี่\S{1,8})$"
)
"""Words that end a question where no mark is usual."""

_CLOSING = "\"'”’»›)]}）」』》 "


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


def is_question(text: str) -> bool:
    """Whether a text is put as a chat turn rather than continued: it ends a sentence, in any script."""
    bare = text.rstrip().rstrip(_CLOSING)
    return bare.endswith(_ENDS) or _UNMARKED.search(bare) is not None


def word_list(text: str) -> tuple[str, ...]:
    """The words of a constant written with spaces between them."""
    return tuple(text.split())


def word_set(text: str) -> frozenset[str]:
    """The words of a constant written with spaces between them, without order."""
    return frozenset(text.split())
