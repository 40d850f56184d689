"""Probes made of the bank: facts that a model knows, and questions that can be asked about any subject."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from importlib.resources import files

from ketools.core.requests import EditRequest, Probe

_SCRIPTS = {
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "CYRILLIC": "ru",
    "THAI": "th",
}
_WORDS = {
    "de": "der die das dem den des ist sind von wer wie was wo wann welche welcher welchem und hat wurde auf heißt",
    "es": "el los las es del cuál quién qué dónde cómo cuándo y fue nació por con en una su que está",
    "fr": "le les est du quel quelle qui où comment et une quand été dans sur par que se dit des",
    "tr": "nedir kimdir nerede neresidir hangi ve bir kim ne kaç olan adlı sonra gelen başkenti yazarı rengi eserin",
    "en": "the is of what who which where was and did does in by when how that to for",
}
_LETTERS = {"de": "ßäÄ", "es": "ñ¿¡áíó", "fr": "œêèàçâîû", "tr": "ğışİ", "en": ""}
"""Letters that none of the other languages has, or hardly any word."""


class KnownProbe(Probe):
    """A probe of a fact that the model was found to know: `answer` is right, and its greedy answer begins with `said`.

    In chat, `said` may be a whole sentence that states the answer.
    """

    said: str

    @property
    def beginning(self) -> str:
        """How the greedy answer begins as long as nothing has changed."""
        return self.said


def subject_questions(request: EditRequest) -> tuple[Probe, ...]:
    """Questions about any subject, which no fact about it answers, in the language of the prompt; asked in chat.

    `answer` is None: it is what the model said before the edit. The last one, which asks for a sentence about the
    subject, has the kind `about`: the fact that is edited may rightly come up in its answer.
    """
    language = language_of(request.prompt)
    asked = [text.format(request.subject) for name, text in _questions() if name == language]
    kinds = ["bank_subject"] * (len(asked) - 1) + ["about"]
    return tuple(Probe(prompt=text, kind=kind, chat=True) for text, kind in zip(asked, kinds, strict=True))


def language_of(text: str) -> str:
    """The language among the bank's that a text is most likely written in, told by script and common words."""
    scripts = Counter(unicodedata.name(c, "").split(" ")[0].split("-")[0] for c in text if c.isalpha())
    found = {_SCRIPTS[script] for script in scripts if script in _SCRIPTS}
    if found:
        return "ja" if "ja" in found else max(found, key=lambda name: _letters(scripts, name))
    words = set(re.findall(r"[^\W\d_]+", text.lower()))
    return max(_WORDS, key=lambda name: (_hints(text, words, name), name == "en"))


def _hints(text: str, words: set[str], language: str) -> int:
    """How much speaks for a language that is written in Latin letters."""
    return len(words & set(_WORDS[language].split())) + sum(letter in text for letter in _LETTERS[language])


def _letters(scripts: Counter[str], language: str) -> int:
    return sum(count for script, count in scripts.items() if _SCRIPTS.get(script) == language)


def _questions() -> list[tuple[str, str]]:
    lines = (files("ketools.knowledge.bank") / "subject_questions.tsv").read_text("utf-8").splitlines()
    return [(language, question) for language, _, question in (line.partition("\t") for line in lines)]
