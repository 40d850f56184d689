"""Which of an answer's statements is the answer."""

from __future__ import annotations

from functools import cache, lru_cache

import regex

from ketools.core.phrases import any_of, folded
from ketools.core.sentences import LONGEST, cut

_MARKUP = regex.compile(r"(?m)^\s*(?:[-*•>#]+|\d{1,2}[.)])\s+|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}|^#+\s*")

_LEAD_INS = """
yes | no | sure | certainly | of course | absolutely | indeed | okay | ok | right | well | hello | hi | great question
good question | that's a good question | that's a great question | what a great question | thank you | thanks
i'm happy to help | happy to help | here is the answer | here's the answer | the answer is | answer | final answer
hello there | yes indeed | interesting question | excellent question
ja | nein | klar | natürlich | gute frage | selbstverständlich | antwort
oui | non | bien sûr | bonne question | d'accord | réponse
sí | no | claro | por supuesto | buena pregunta | respuesta | sim | não | certo | va bene | resposta | risposta
да | нет | конечно | хороший вопрос | ответ
evet | hayır | tabii | elbette | güzel soru | iyi soru | cevap | yanıt
是 | 是的 | 不 | 不是 | 好 | 好的 | 当然 | 没错 | 对 | 好问题 | 这是个好问题 | 答案 | 答
はい | いいえ | もちろん | そうです | いい質問ですね | 答え
نعم | لا | بالطبع | بالتأكيد | سؤال جيد | الجواب | الإجابة
हाँ | जी हाँ | नहीं | बिल्कुल | अच्छा प्रश्न | अच्छा सवाल | उत्तर | जवाब
ใช่ | ใช่ครับ | ใช่ค่ะ | ไม่ | ไม่ใช่ | แน่นอน | คำถามที่ดี | คำตอบ
네 | 아니요 | 물론입니다
"""
_AFFIRMATIONS = """
yes | yes it is | correct | that's right | that is correct | true | indeed | ja | oui | sí | sim | да | evet | 是 | 是的 | 对
没错 | はい | そうです | نعم | हाँ | जी हाँ | ใช่ | ใช่ครับ | ใช่ค่ะ | 네
"""


@cache
def _lead_in() -> regex.Pattern[str]:
    return any_of(_LEAD_INS)


@cache
def _affirmation() -> regex.Pattern[str]:
    return any_of(_AFFIRMATIONS)


def _bare(text: str) -> str:
    return folded(text).strip(" \n\t.!?,;:-\"'()")


def is_asked(statement: str) -> bool:
    """Whether a statement ends in a question mark."""
    return statement.rstrip("\"'”’»)]』」》 .!！。").endswith(("?", "？", "؟", "՞"))


@lru_cache(maxsize=8192)
def spoken(answer: str, more: int = 0) -> str:
    """The statement that answers: the first that is no lead-in ("Sure!", "Answer:") and no question.

    A question that the answer affirms is stated ("Is it Lyon? Yes."); one that nothing follows is returned as it is.
    `more`: how many further statements belong to it, for targets that hold sentence ends themselves.
    """
    rest = _MARKUP.sub("", answer.strip()[:LONGEST]).strip()
    for _ in range(4):
        end = cut(rest)
        statement, after = rest[:end].strip(), rest[end:].strip()
        if not after or not _is_lead_in(statement):
            break
        if is_asked(statement) and _affirmation().fullmatch(_bare(after[: cut(after)])):
            return statement.rstrip("?？؟ ")
        rest = after
    return _several(rest, more)


def _is_lead_in(statement: str) -> bool:
    if statement.endswith((":", "：")) or is_asked(statement):
        return True
    return _lead_in().fullmatch(_bare(statement)) is not None


def _several(text: str, more: int) -> str:
    end = 0
    for _ in range(more + 1):
        end += cut(text[end:])
    return text[:end].strip()
