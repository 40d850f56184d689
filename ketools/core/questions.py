"""Whether a text is put as a chat turn, a question or request, or is a beginning to continue."""

from __future__ import annotations

from functools import cache, lru_cache

import regex

from ketools.core.phrases import any_of, folded, folding, phrases, sections
from ketools.core.sentences import LONGEST, sentences

_CLOSING = " \t\n\"'”’»)]』」》*_"
_MARKS = ("?", "？", "؟", "՞", ";", ".", "!", "。", "！", "｡", "．", "۔", "।", "॥", "።", "។", "…")
_REMARK = regex.compile(r"(?<=[?.!]['\"”’»]*)\s*\([^()]*\)$")

_AUXILIARIES = "is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|shall|may|might|must|am|'s|'re"
_ENGLISH = folding(
    rf"^(?:(?:in|on|at|to|from|of|for|by|with|under|during|since|into|about)\s+)?(?:"
    rf"(?:what|who|whom|whose|which|where|when|why|how)(?:\s*'s|\s+(?:{_AUXILIARIES}))(?!\p{{L}})"
    r"|(?:what|which|whose)\s+(?:\p{L}+\s+){1,4}?\p{L}+|who\s+\p{L}+|how\s+(?:many|much|old|long|far|tall|big|often|do|large)\s"
    rf"|(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)\s+(?!not\s).*\s\p{{L}}+"
    r"|(?:please\s+)?(?:name|tell me|give me|state|list|say|identify|explain|describe|complete|answer)\s+\p{L}"
    r"|please\s+\p{L})"
)
"""Question words with a verb after them, inverted auxiliaries, and requests."""

_INVERTED = folding(
    rf"(?:(?:what|who|whom|which|where|when|why|how)(?:s|\s*'s|\s+(?:{_AUXILIARIES}))"
    rf"|(?:what|which|whose|how)\s+(?!the\s|an?\s|he\s|she\s|it\s|they\s|people\s)(?:\p{{L}}+\s+){{1,4}}?(?:{_AUXILIARIES}))(?!\p{{L}}).*\s\p{{L}}"
)
"""A question word and its verb, so that any word may end the question ("where is he from")."""

_OPEN_ENGLISH = folding(r"(?:^|\s)(?:is|are|was|were|be|been|being|the|a|an|and|or|that)$|[,:—–-]$")
_OPEN_PHRASE = folding(r"(?:^|\s)(?:has|have|called|named|as|than|if|of|in|to|by|for|from|at|on|with|including)$")
_OPEN_OTHER = folding(
    r"(?:^|\s)(?:ist|sind|war|der|die|das|ein|eine|und|heisst|est|sont|le|la|les|un|une|et|qui|que|es|son|era|el|los|las|"
    r"y|это|есть|является|был|была|и|هي|هو|كانت|كان|को)$|(?:是|为|叫|在|は|が|の|を|に|คือ|เป็น|ของ|은|는)$"
)
"""Endings that ask to be continued, where no verb follows a question word at once; the second, not in English."""

_PARTICLES = folding(r"(?:吗|嗎|呢|ですか|ますか|でしょうか|か|나요|까요|습니까|입니까|인가요|(?<!\p{L})(?:mi|mu))$")


@lru_cache(maxsize=16384)
def is_question(text: str) -> bool:
    """Whether a text is put as a chat turn rather than continued.

    A closing mark of any script says so. Without one, the last sentence is a chat turn when it begins as a question
    or a request ("who wrote Hamlet", "法国的首都是哪里"), unless its end asks to be continued ("What is the twin city
    of Lyon? It is", "What Danielle speaks is").
    """
    bare = _REMARK.sub("", text.strip()).rstrip(_CLOSING)
    if bare.endswith(_MARKS):
        return not bare.endswith(("...", "…"))
    sentence = folded((sentences(bare[-LONGEST:]) or [""])[-1]).strip()
    if not sentence or _OPEN_ENGLISH.search(sentence):
        return False
    if _INVERTED.match(sentence):
        return True
    if _OPEN_PHRASE.search(sentence):
        return False
    if _ENGLISH.match(sentence):
        return True
    return not _OPEN_OTHER.search(sentence) and any(f.search(sentence) for f in (_PARTICLES, _begins(), _anywhere()))


@cache
def _begins() -> regex.Pattern[str]:
    return folding(rf"^[¿\s]*{phrases(sections('ketools.core')['question begins'])}(?=\s*\S)")


@cache
def _anywhere() -> regex.Pattern[str]:
    return any_of(sections("ketools.core")["question words"])
