"""What counts as naming a target: its words, and the other ways to spell them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from ketools.core.names import fold
from ketools.core.phrases import folded, plain
from ketools.core.text import word_list, word_set
from ketools.knowledge.matching.tokens import Token, tokens

_ARTICLES = frozenset(("the", "a", "an"))
_FOREIGN_ARTICLES = word_set(
    "le la les l un une el los las uno una lo il gli i der die das den dem des ein eine einen einem einer de het een "
    "o os as um uma en ett"
)
_KEPT = frozenset(("los angeles", "las vegas", "la paz", "la plata", "el paso", "el salvador", "le mans", "la haye"))
"""Names whose article is no article."""

_PARENTHESIS = regex.compile(r"\s*[(\[（][^)\]）]*(?:[)\]）]|$)")
_EITHER = regex.compile(r",?\s+(?:or|aka|a\.k\.a\.)\s+")
_INVERTED = regex.compile(r"(\p{Lu}[^,\d]*),\s+(\p{Lu}[^,\d]*)")
_UMLAUTS = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("å", "aa"), ("ø", "oe"))
_DIGRAPH = regex.compile("[aou]e|aa")
_SECOND_VOWEL = regex.compile("(?<=[aou])e|(?<=a)a")
_SYNONYMS = tuple(
    pair.split("=") for pair in word_list("saint=st sainte=ste mount=mt fort=ft doctor=dr mister=mr bce=bc ce=ad")
)
_SHORTEST_NAME = 3
"""Letters up to which a name in capitals is told from a word by its case: "US", "WHO"."""


@dataclass(frozen=True, slots=True)
class Element:
    """One word, number or date of a target.

    `forms`: its spellings; `gap`: the marks before it; `optional`: an initial that an answer may leave out.
    """

    token: Token
    forms: frozenset[str]
    gap: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One way to name a target: its elements, its text without case, and whether case counts."""

    text: str
    elements: tuple[Element, ...]
    exact_case: bool = False


@lru_cache(maxsize=8192)
def ways(target: str) -> tuple[Target, ...]:
    """The ways to name a target: as it stands, and without what data sets put around a name; () of bare symbols."""
    texts = dict.fromkeys((target, *_alternatives(target)))
    found = (way for text in texts for way in (_compiled(text), _compiled(text, drop=True)) if way)
    return tuple(dict.fromkeys(found))


def _alternatives(target: str) -> Iterator[str]:
    outer = _PARENTHESIS.sub("", target).strip()
    if outer and outer != target:
        yield outer
    parts = _EITHER.split(target)
    if len(parts) > 1 and ("," in target or all(part.isupper() for part in parts)):
        yield from (part for part in parts if part.strip())
    inverted = _INVERTED.fullmatch(target.strip(" ."))
    if inverted and len(target.split()) <= 5:
        yield f"{inverted[2]} {inverted[1]}"


def _compiled(text: str, drop: bool = False) -> Target | None:
    """The target of a text; with `drop`, without its leading article, None where it has none."""
    found = list(tokens(text))
    if drop:
        if not _has_article(found, text):
            return None
        found = found[1:]
    if not found:
        return None
    last = len(found) - 1
    elements = tuple(
        Element(token, _forms(token, text), gap(found, i, text), 0 < i < last and is_initial(token, text))
        for i, token in enumerate(found)
    )
    exact_case = _is_acronym(found, text) or _is_common(text, drop)
    return Target(" ".join(token.text for token in found), elements, exact_case)


def _is_acronym(found: Sequence[Token], text: str) -> bool:
    written = text[found[0].start : found[-1].end]
    short = len(found) == 1 and sum(c.isalpha() for c in written) <= _SHORTEST_NAME
    return short and written.isupper() and written.isascii() and not found[0].values


def gap(told: Sequence[Token], i: int, text: str) -> str:
    """The marks before a token."""
    return plain(text[told[i - 1].end : told[i].start]).strip() if i else ""


def _has_article(found: Sequence[Token], text: str) -> bool:
    if len(found) < 2 or found[0].text + " " + found[1].text in _KEPT:
        return False
    first = found[0]
    return first.text in _ARTICLES or first.text in _FOREIGN_ARTICLES


def _is_common(text: str, dropped: bool) -> bool:
    """Whether a name without its capitalised foreign article may be a common word ("Die Hard")."""
    if not dropped:
        return False
    first = text.strip(" \"'“‘«").split(maxsplit=1)[0]
    return first[0].isupper() and fold(first) not in _ARTICLES


def is_initial(token: Token, text: str) -> bool:
    """Whether a token is one capital letter."""
    return len(token.text) == 1 and token.text.isalpha() and not token.word.unspaced and text[token.start].isupper()


def _forms(token: Token, text: str) -> frozenset[str]:
    """The spellings of a word that count as the same, without inflection."""
    spelled = text[token.start : token.end].lower()
    found = {token.text}
    found.update(b if token.text == a else a for a, b in _SYNONYMS if token.text in (a, b))
    for letter, letters in _UMLAUTS:
        spelled = spelled.replace(letter, letters)
    found.add(folded(spelled))
    if len(token.text) > 4 and _DIGRAPH.search(token.text) and not token.values and not token.days:
        found.add(_SECOND_VOWEL.sub("", token.text))
    return frozenset(found)


def same_words(a: str, b: str) -> bool:
    """Whether two texts are one but for case, typography, punctuation and a leading article."""
    return not _keys(a).isdisjoint(_keys(b))


@lru_cache(maxsize=8192)
def _keys(text: str) -> frozenset[str]:
    """The words of a text as one string, with and without a leading article; of bare symbols, the symbols."""
    found = tokens(text)
    if not found:
        return frozenset({plain(text).strip()})
    whole = " ".join(token.text for token in found)
    return frozenset({whole, " ".join(token.text for token in found[1:])} if _has_article(found, text) else {whole})
