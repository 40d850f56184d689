"""What a conversation asks: the texts of its last message, follow-up questions written out.

A follow-up leaves its subject, or all but its subject, to what was said before. What is listed here are the words
that show it, in the languages that the packaged data cover; nothing is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import regex

from ketools.core.names import Span, canonical, find, words
from ketools.core.requests import Prompt
from ketools.core.text import word_set

LONGEST = 600
"""Characters of a message that are read as one text; sentences are read by themselves as well."""

MOST_SENTENCES = 12
LOOK_BACK = 6
"""How many earlier messages may name what a pronoun stands for."""

_SENTENCE = regex.compile(r"(?<=[.?!])\s+|(?<=[。？！؟۔।])\s*|\n+")
_LABEL = regex.compile(
    r"^(?:q|question|prompt|user|a|answer|问|答|質問|سؤال|frage|pregunta|вопрос|soru)\s*[:：]\s*", regex.I
)
_PRONOUN = regex.compile(
    r"\b(?:its|his|their|her|it|he|she|they|him|them|there|that country|that city|this city|this country"
    r"|son|sa|ses|leur|leurs|il|elle|ils|elles|y|lui"
    r"|sein|seine|seinen|seiner|seinem|ihr|ihre|ihren|ihrer|er|sie|es|dort|dessen|deren"
    r"|su|sus|él|ella|ellos|ellas|allí"
    r"|его|её|ее|их|он|она|оно|они|там|него|ней|нём|нем"
    r"|onun|o|onların|onlar|orada|orası|oranın"
    r"|उसका|उसकी|उसके|उनका|उनकी|उनके|इसका|इसकी|इसके|वह|वहाँ|वहां)\b"
    r"|它的?|他的?|她的?|他们的?|那里的?|그의|그녀의|그것의|그는|그곳"
    r"|その|それ|彼の?|彼女の?|そこの?|ของมัน|ของเขา|ของเธอ|มัน|เขา|เธอ|ที่นั่น",
    regex.IGNORECASE,
)
_ARABIC_PRONOUN = regex.compile(r"\b(\p{Arabic}{3,}?)(?:ها|هم|ه)\b")
_POSSESSIVE = word_set("its his their")
_OPENING = regex.compile(
    r"\s*(?:and|or|but|so|what about|how about|and what about|et|et pour|qu'en est-il de|und|und was ist mit|y|e|ve|"
    r"peki|peki ya|и|а|а у|а в|और|و|وماذا عن|แล้ว|那么?|そして|では|じゃあ)\b[\s,]*|\s*[¿那و]\s*(?:y|e)?\s*",
    regex.IGNORECASE,
)
_SMALL = word_set(
    "and or but so then what how about of for in with the a an is ok okay now et pour de la le les du des l d en qu "
    "est il "
    "und was ist mit von in der die das den y o que hay del el los las para e ve peki ya ne olan için nin nın da de "
    "и а у в как насчёт насчет о про для что и का की के और क्या में و ماذا عن في ل แล้ว ล่ะ ของ "
    "那 那么 呢 的 は の では 그럼 는 은"
)
"""Words beside which a name alone is an elliptical question ('And of Spain?')."""

_SUBJECTLESS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Hangul}]")
_NAME = regex.compile(r"\b\p{Lu}[\p{L}\p{M}\p{N}'’]*(?:[ -](?:of |the |de |la |von )?\p{Lu}[\p{L}\p{M}\p{N}'’]*)*")


MOST_AGAIN = 16
"""Words of a message that only asks once more."""

_PRESSING = frozenset(
    word.text
    for word in words(
        "are you sure really certain positive is that right correct true tell me just please answer answers the "
        "question it say so come on now i know think again try one more time yes no ok okay well but and "
        "an a best guess your my give final do does did don t can could would will must have to hint only be "
        "honest honestly seriously promise anyway still want need believe re ll m s n "
        "bist du sicher sind sie wirklich ehrlich sag sagen es mir bitte doch nun stimmt das weißt "
        "es tu êtes vous sûr sûre certain vraiment dis dites le moi s il te plaît vous savez sais "
        "estás está seguro segura de verdad dímelo dime lo por favor sabes ya "
        "ты вы уверен уверена уверены точно правда скажи скажите мне пожалуйста же знаешь "
        "emin misin gerçekten söyle lütfen bana biliyorsun"
    )
)
_AGAIN = frozenset(
    canonical(line)
    for line in """
你确定吗
真的吗
请告诉我
告诉我
本当ですか
本当？
教えてください
教えて
क्या आप निश्चित हैं
कृपया बताइए
هل أنت متأكد
حقا
أخبرني من فضلك
أخبرني
แน่ใจไหม
จริงหรือ
บอกมาเถอะ
""".splitlines()
    if line
)
"""The same in scripts whose words are not told apart, or whose short words are not small."""


@dataclass(frozen=True)
class Asked:
    """What a prompt asks: its last user message, or the text to continue, and the messages before, oldest first.

    `history`: pairs of role and text, only of users and assistants.
    """

    text: str
    history: tuple[tuple[str, str], ...] = ()

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The last sentences of the message, without labels such as 'Q:'."""
        parts = [_LABEL.sub("", part.strip()) for part in _SENTENCE.split(self.text)]
        return tuple([part for part in parts if part.strip(" .:?!")][-MOST_SENTENCES:])

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The message as a whole, if it is not too long, and its sentences."""
        whole = " ".join(self.sentences)
        together = [whole] if len(self.sentences) > 1 and len(whole) <= LONGEST else []
        return tuple(dict.fromkeys([*together, *(self.sentences or [" ".join(self.text.split())])]))

    @property
    def everything(self) -> str:
        """All that was said, for looking up names."""
        return "\n".join([*(text for _, text in self.history[-LOOK_BACK:]), self.text])

    @cached_property
    def last_question(self) -> str | None:
        """The user's message before this one."""
        return next((text for role, text in reversed(self.history) if role == "user"), None)


def asked(prompt: Prompt) -> Asked:
    """What the prompt asks; empty when it is a chat without a user message."""
    if isinstance(prompt, str):
        return Asked(prompt)
    said = [(m.get("role", ""), m.get("content", "") or "") for m in prompt]
    said = [(role, text) for role, text in said if role in ("user", "assistant") and isinstance(text, str)]
    last = max((i for i, (role, _) in enumerate(said) if role == "user"), default=None)
    return Asked("") if last is None else Asked(said[last][1], tuple(said[:last]))


def pressed(prompt: Prompt) -> Prompt:
    """The conversation up to the user's last message that does more than ask once more."""
    if isinstance(prompt, str):
        return prompt
    asking = [i for i, message in enumerate(prompt) if message.get("role") == "user"]
    while len(asking) > 1 and asks_again(prompt[asking[-1]].get("content", "") or ""):
        asking.pop()
    return prompt[: asking[-1] + 1] if asking else prompt


def asks_again(text: str) -> bool:
    """Whether a message only doubts or presses for the answer before: 'Are you sure?', 'You know it. Tell me.'"""
    if canonical(text) in _AGAIN:
        return True
    spoken = words(text)
    return 0 < len(spoken) <= MOST_AGAIN and all(word.text in _PRESSING for word in spoken)


def spans_of(names: Iterable[str], text: str) -> list[Span]:
    """Where any of the names stands for itself, in order and without overlaps."""
    found = sorted((s for name in names for s in find(name, text) if s.whole), key=lambda s: (s.start, -s.end))
    kept: list[Span] = []
    for span in found:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept


def readings(question: Asked, names: Sequence[str]) -> tuple[str, ...]:
    """The texts that may ask about the subject of these names, with the first of them where a pronoun stood.

    Those that name it as they are; an elliptical one in the words of the question before; where only earlier
    messages name it, the message with its pronouns, or its absent subject, filled in.
    """
    direct = [text for text in question.texts if spans_of(names, text)]
    if direct:
        before = question.last_question
        written = [_as_before(text, before, names) for text in direct] if before else []
        later = question.sentences[_first_named(question.sentences, names) + 1 :]
        filled = [_filled(text, names[0]) for text in later if not spans_of(names, text) and _PRONOUN.search(text)]
        return tuple(dict.fromkeys([*direct, *(text for text in written if text), *filled]))
    return (
        tuple(_filled(text, names[0]) for text in question.texts if refers_back(text))
        if _spoken_of(question, names)
        else ()
    )


def _first_named(sentences: Sequence[str], names: Sequence[str]) -> int:
    return next((i for i, text in enumerate(sentences) if spans_of(names, text)), len(sentences))


def refers_back(text: str) -> bool:
    """Whether a text leaves its subject to what was said before."""
    if _PRONOUN.search(text) or _ARABIC_PRONOUN.search(text):
        return True
    has_name = any(m.start() > 0 for m in _NAME.finditer(text))
    return not has_name and (_SUBJECTLESS.search(text) is not None or _OPENING.match(text) is not None)


def is_elliptical(text: str, names: Sequence[str]) -> bool:
    """Whether a text holds nothing but one of the names and small words: 'And of Spain?'."""
    spans = spans_of(names, text)
    rest = [w.text for w in words(text) if not any(s.start < w.end and w.start < s.end for s in spans)]
    return bool(spans) and all(word in _SMALL for word in rest)


def _as_before(text: str, before: str, names: Sequence[str]) -> str | None:
    """The question before with this subject in the place of its own, when the text is elliptical."""
    if not is_elliptical(text, names) or spans_of(names, before):
        return None
    others = [m for m in _NAME.finditer(before) if m.start() > 0] or list(_NAME.finditer(before))
    if not others:
        return None
    other = others[-1]
    return before[: other.start()] + names[0] + before[other.end() :]


def _spoken_of(question: Asked, names: Sequence[str]) -> bool:
    """Whether the conversation is still about the subject: no later message of the user turned elsewhere."""
    for role, text in reversed(question.history[-LOOK_BACK:]):
        if spans_of(names, text):
            return True
        if role == "user" and not refers_back(text):
            return False
    return False


def _filled(text: str, name: str) -> str:
    """The text with the name where a pronoun stood, or before it."""
    if _PRONOUN.search(text):
        return str(_PRONOUN.sub(lambda match: _in_place(match, name), text))
    if _ARABIC_PRONOUN.search(text):
        return str(_ARABIC_PRONOUN.sub(lambda match: f"{match[1]} {name}", text))
    bare = _OPENING.sub("", text, count=1)
    joint = "" if _SUBJECTLESS.search(name) else ": "
    return f"{name}{joint}{bare}"


def _in_place(match: regex.Match[str], name: str) -> str:
    word = match[0].lower()
    follows = regex.match(r"\s+\w", match.string[match.end() :]) is not None
    if word in _POSSESSIVE or (word == "her" and follows):
        return f"{name}'s"
    return f"{name}の" if word in ("その", "彼の", "彼女の") else f"{name}的" if word.endswith("的") else name
