"""Whether a text is put as a chat turn, a question or request, or is a beginning to continue."""

from __future__ import annotations

from functools import cache, lru_cache

import regex

from ketools.core.phrases import any_of, folded, folding, phrases
from ketools.core.sentences import sentences

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
"""Endings that ask to be continued: of any text, where no verb follows an English question word at once, and of others."""

_BEGIN = """
was ist | was sind | was war | wer ist | wer war | wer hat | wo ist | wo liegt | wo wurde | wo befindet | wann war | wann wurde
wann ist | wie heißt | wie viele | wie lautet | wie hoch | wie alt | wie groß | welche | welcher | welches | welchen | wessen
warum | woher | wohin | in welcher | in welchem | aus welchem | von wem | nenne | nennen sie | sag mir
quel est | quelle est | quels sont | quelles sont | quel | quelle | qui est | qui a | qui était | qui sont | où | quand | comment
combien | pourquoi | qu'est-ce | est-ce que | dans quel | dans quelle | de quel | de quelle | à quel | nommez | cite | dis-moi
qué | quién | quiénes | dónde | cuándo | cuál | cuáles | cómo | cuánto | cuántos | cuántas | por qué | en qué | de qué | a qué
cual es | que es | quien es | quien fue | donde esta | donde nacio | cuando nacio | nombra | dime
qual è | chi è | dove si | quando è | quem é | qual é | onde fica | quando foi
кто | что такое | где | когда | какой | какая | какое | какие | какого | каком | какую | сколько | чей | чья | куда | откуда
почему | зачем | в каком | в какой | на каком | на какой | из какого | из какой | как называется | как зовут | назови | назовите
ما هي | ما هو | ما اسم | ماذا | من هو | من هي | من الذي | من كتب | أين | متى | كيف | كم | هل | أي | لماذا | في أي | اذكر
क्या | कौन | कहाँ | कब | किस | किसने
wat is | wie is | waar is | welke | vad är | vem är | hva er | hvem er
"""
_ANYWHERE = """
什么 | 什麼 | 哪 | 谁 | 誰 | 多少 | 几个 | 几岁 | 为什么 | 怎么 | 何时 | 何地 | 是否
何ですか | 何です | どこ | だれ | いつ | どの | どんな | なに | いくつ | なぜ | ですか | 何処 | 誰ですか
क्या | कौन | कहाँ | कहां | कब | कितना | कितने | कितनी | किसने | किसका | किसकी | कैसे | क्यों
nedir | kimdir | nerede | neresi | neresidir | nerededir | hangi | kaç | kaçtır | ne zaman | kim yazdı | neden | mıdır | midir | mudur | müdür
อะไร | ใคร | ที่ไหน | เมื่อไร | เมื่อไหร่ | อย่างไร | ทำไม | กี่ | เท่าไร | เท่าไหร่ | หรือไม่ | ไหม | ใด
어디 | 무엇 | 누구 | 언제 | 몇 | 어느 | 뭐 | 무슨
"""
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
    sentence = folded((sentences(bare) or [""])[-1]).strip()
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
    return folding(rf"^[¿\s]*{phrases(_BEGIN)}(?=\s*\S)")


@cache
def _anywhere() -> regex.Pattern[str]:
    return any_of(_ANYWHERE)
