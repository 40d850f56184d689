"""Endings, prefixes and particles that languages put on names, as bounded lists.

Nothing here parses a language: a word of a text counts as a form of a name when it differs by one ending (or
prefix) of a list that the text's script, or a few function words, call for.
"""

from __future__ import annotations

from functools import lru_cache

import regex

from ketools.core.text import word_list, word_set

_RUSSIAN = word_list(
    "ами ями ого его ому ему ои еи ою ею ом ем ах ях ам ям ов ев ыи ии ая яя ую юю ое ее ые ие ым им ых их "
    "ы и а я у ю е о ь"
)
"""Folded, as names are: without the breve of й."""

_CONSONANT = word_set("а у ом ем е ы и")
"""Endings of names in a consonant."""

_VOWELS = frozenset("аеиоуыэюя")
_TURKISH = word_list(
    "dir dır dur dür tir tır tur tür "
    "nin nın nun nün in ın un ün ya ye yı yi yu yü da de ta te dan den tan ten la le yla yle ninki daki deki"
)
_KOREAN = word_list(
    "은 는 이 가 을 를 의 에 와 과 도 만 로 으로 에서 에게 한테 께서 까지 부터 라는 이라는 처럼 보다 이란 란 이야 야 "
    "에는 에도 에서는 에서도 에게서 이나 나 랑 이랑 이다 이고 이며 이지 이었다 였다 이라고 라고 인 시 이에요 예요 "
    "입니까 입니다 인가요"
)
_ARABIC_PREFIXES = ("", "و", "ف", "ب", "ل", "ك", "س", "ال", "وال", "فال", "بال", "كال", "لل", "ولل", "وب", "ول")
_HEBREW_PREFIXES = ("", "ו", "ה", "ב", "ל", "מ", "ש", "כ", "וב", "ול", "שב", "וה", "של")
_GERMANIC = ("s", "es")

_TURKISH_WORDS = regex.compile(
    r"\b(?:nedir|kimdir|ne|kim|hangi|nerede|neresi|nere\w*|kaç|mi|mı|mu|mü|ve|bir|bu|başkenti|için|olan|nasıl)\b|[ğşıİ]",
    regex.IGNORECASE,
)
_GERMANIC_WORDS = regex.compile(
    r"\b(?:der|die|das|und|ist|sind|wer|wie|was|welche[rsmn]?|von|wo|war|wurde|hat|heißt|heisst|"
    r"är|och|vad|vem|vilken|hva|hvem|hvad|hvilken|er|og|het|een|wat|wie|waar|welke)\b",
    regex.IGNORECASE,
)


@lru_cache(maxsize=4096)
def inflections(text: str) -> frozenset[str]:
    """Which languages' endings the text may use in the Latin script: `turkish`, `germanic`."""
    found = set()
    if _TURKISH_WORDS.search(text):
        found.add("turkish")
    if _GERMANIC_WORDS.search(text):
        found.add("germanic")
    return frozenset(found)


@lru_cache(maxsize=65536)
def is_inflected(name: str, word: str, languages: frozenset[str], first: bool = True) -> bool:
    """Whether a folded word is a form of a folded name's word. `first`: it may carry a prefix."""
    if not name or not word:
        return False
    script = name[0]
    if "\u0400" <= script <= "\u04ff":
        return _same_stem(name, word) or _drops_vowel(name, word)
    if "\uac00" <= script <= "\ud7a3":
        return word.startswith(name) and word[len(name) :] in _KOREAN
    if "\u0600" <= script <= "\u06ff":
        return first and _prefixed(name, word, _ARABIC_PREFIXES, "ال")
    if "\u0590" <= script <= "\u05ff":
        return first and _prefixed(name, word, _HEBREW_PREFIXES, "ה")
    return _latin(name, word, languages)


def _same_stem(name: str, word: str) -> bool:
    """Russian and its neighbours: equal but for one case ending each; the stem keeps three letters."""
    shared = 0
    for a, b in zip(name, word, strict=False):
        if a != b:
            break
        shared += 1
    if shared == len(name) == 3:
        return word[3:] in _CONSONANT
    if shared < 3 or len(name) < 4:
        return False
    return all(not rest or rest in _RUSSIAN for rest in (name[shared:], word[shared:]))


def _drops_vowel(name: str, word: str) -> bool:
    """Names whose last vowel falls out: `Павел` and `Павла`, `Лев` and `Льва`."""
    if len(name) < 3 or name[-2] not in "ео" or name[-1] in _VOWELS:
        return False
    stems = (name[:-2] + name[-1], f"{name[:-2]}ь{name[-1]}")
    return any(word.startswith(stem) and word[len(stem) :] in _CONSONANT for stem in stems)


def _prefixed(name: str, word: str, prefixes: tuple[str, ...], article: str) -> bool:
    bare = name.removeprefix(article) if len(name) > len(article) + 2 else name
    if not word.endswith(bare) or len(bare) < 2:
        return False
    return word[: len(word) - len(bare)] in prefixes


def _latin(name: str, word: str, languages: frozenset[str]) -> bool:
    rest = word[len(name) :]
    if not rest or len(name) < 4 or not word.startswith(name):
        return False
    return ("germanic" in languages and rest in _GERMANIC) or ("turkish" in languages and rest in _TURKISH)
