"""What counts as naming a target, and where a text names it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from ketools.core.inflection import inflections, is_inflected
from ketools.core.names import fold
from ketools.knowledge.matching.dates import tells
from ketools.core.phrases import folded, plain
from ketools.knowledge.matching.tokens import Token, tokens

_ARTICLES = frozenset("the a an".split())
_FOREIGN_ARTICLES = frozenset(
    "le la les l un une el los las uno una lo il gli i der die das den dem des ein eine einen einem einer de het een "
    "o os as um uma en ett".split()
)
_KEPT = frozenset(("los angeles", "las vegas", "la paz", "la plata", "el paso", "el salvador", "le mans", "la haye"))
"""Names whose article is no article."""

_PARENTHESIS = regex.compile(r"\s*[(\[（][^)\]）]*(?:[)\]）]|$)")
_EITHER = regex.compile(r",?\s+(?:or|aka|a\.k\.a\.)\s+")
_INVERTED = regex.compile(r"(\p{Lu}[^,\d]*),\s+(\p{Lu}[^,\d]*)")
_GAP = regex.compile(r"(?:[\s\p{Pd}\p{Pi}\p{Pf}_*,·・/()\[\]\"'`´ʼ′.&+]|:(?=\d))*")
_HYPHEN = regex.compile(r"[-‐‑]")
_UMLAUTS = (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("å", "aa"), ("ø", "oe"))
_DIGRAPH = regex.compile("[aou]e|aa")
_SECOND_VOWEL = regex.compile("(?<=[aou])e|(?<=a)a")
_HYPHENED_BEFORE = regex.compile(r"[\p{L}\p{N}][-‐‑]$")
_HYPHENED_AFTER = regex.compile(r"[-‐‑]\p{L}")
_DECADE = regex.compile(r"年代|[-‐‑]?(?:er|х|s|lar|lı)(?!\p{L})")
_IRISH = regex.compile(r"(?:(?<!\p{L})[oO]|n)['’ʼ]$")
_SYNONYMS = {"saint": "st", "sainte": "ste", "mount": "mt", "fort": "ft", "doctor": "dr", "mister": "mr", "bce": "bc", "ce": "ad"}
_TAILS = frozenset("based born speaking language style area region made owned type like class related inspired".split())
_FORMERS = frozenset(
    "new nueva nuevo nouvelle nova novo neu neue новый новая нового новой nuova yeni north south east west san santa saint "
    "st fort port northern kuzey güney doğu batı северная южная восточная западная северной южной नया नई न्यू उत्तर दक्षिण "
    "corée papua".split()
)
"""Words that make another name of the one after them: "New York" is no York."""

_FOLLOWERS = regex.compile(
    r"\s+(?:City(?!\p{L})|Times|Airport|Herald)(?!\p{L})|\s+(?:del?|du|do)\s+(?:norte|sur|sul|nord|sud)(?!\p{L})"
    r"|\s+(?:الشمالي|الجنوبي)|(?:เหนือ|ใต้)"
)
_CITIES = frozenset(("new york", "vatican"))
_UNSPACED_FORMERS = regex.compile(r"(?:(?:^|[是在叫为為于於「,，])[新南北]|นิว|เกาหลี(?=ใต้|เหนือ))$")


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text names a target: `[start, end)` in the text, and the tokens `[first, last)`."""

    start: int
    end: int
    first: int
    last: int


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
    start, end = found[0].start, found[-1].end
    written = text[start:end]
    last = len(found) - 1
    elements = tuple(
        Element(token, _forms(token, text), _gap(found, i, text), 0 < i < last and _is_initial(token, text))
        for i, token in enumerate(found)
    )
    letters = [c for c in written if c.isalpha()]
    short = len(letters) <= 3 and len(found) == 1 and written.isupper() and letters[0].isascii() and not found[0].values
    return Target(" ".join(token.text for token in found), elements, exact_case=short or _is_common(text, drop))


def _gap(told: Sequence[Token], i: int, text: str) -> str:
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


def _is_initial(token: Token, text: str) -> bool:
    return len(token.text) == 1 and token.text.isalpha() and not token.word.unspaced and text[token.start].isupper()


def _forms(token: Token, text: str) -> frozenset[str]:
    """The spellings of a word that count as the same, without inflection."""
    written = text[token.start : token.end].lower()
    found = {token.text, _SYNONYMS.get(token.text, token.text)}
    found |= {short for short, long in ((b, a) for a, b in _SYNONYMS.items()) if long == token.text}
    found |= {long for long, short in _SYNONYMS.items() if short == token.text}
    spelled = written
    for letter, letters in _UMLAUTS:
        spelled = spelled.replace(letter, letters)
    found.add(folded(spelled))
    if len(token.text) > 4 and _DIGRAPH.search(token.text) and not token.values and not token.days:
        found.add(_SECOND_VOWEL.sub("", token.text))
    return frozenset(found)


def places(text: str, target: str) -> list[Place]:
    """Where a text names a target: whole words, with the endings and particles of its language; longest first."""
    told = tokens(text)
    endings = inflections(text)
    found: dict[tuple[int, int], Place] = {}
    for way in ways(target):
        for i in range(len(told)):
            last = _match(way, told, i, text, endings)
            if last and _stands_alone(told, i, last, text) and _has_case(way, told, i, last, text):
                found.setdefault((i, last), Place(told[i].start, _closed(told[i].start, told[last - 1].end, text), i, last))
    kept = [p for p in found.values() if not any(_covers(o, p) for o in found.values())]
    return sorted(kept, key=lambda p: p.start)


def _closed(start: int, end: int, text: str) -> int:
    """The end of a name, with the bracket that closes one in it."""
    return end + 1 if text[end : end + 1] in (")", "]") and set("([") & set(text[start:end]) else end


def _covers(outer: Place, inner: Place) -> bool:
    return outer != inner and outer.first <= inner.first and inner.last <= outer.last


def _match(way: Target, told: Sequence[Token], i: int, text: str, endings: frozenset[str]) -> int:
    """The index after the last token of a match that begins at token `i`, or 0."""
    j, k, wanted = i, 0, way.elements
    while k < len(wanted):
        element = wanted[k]
        if j > i and j < len(told) and not _joins(element, told, j, text):
            return 0
        taken = _taken(element, told, j, text, endings, first=k == 0)
        if not taken and k and _is_extra_initial(told, j, text):
            taken = _taken(element, told, j + 1, text, endings, first=False)
            taken += bool(taken)
        if not taken and _is_compound(wanted[k : k + 2], told, j):
            taken, k = 1, k + 1
        if not taken and not element.optional:
            return 0
        j, k = j + taken, k + 1
    return j


def _is_compound(pair: Sequence[Element], told: Sequence[Token], j: int) -> bool:
    """Whether two words of the target stand as one ("jellyfish" for "jelly-fish")."""
    if len(pair) < 2 or j >= len(told) or any(len(e.token.text) < 3 or e.token.word.unspaced for e in pair):
        return False
    return told[j].text == pair[0].token.text + pair[1].token.text


def _joins(element: Element, told: Sequence[Token], j: int, text: str) -> bool:
    """Whether what stands before token `j` may stand within a name, or is what the target has there."""
    return _GAP.fullmatch(text, told[j - 1].end, told[j].start) is not None or _gap(told, j, text) == element.gap


def _taken(element: Element, told: Sequence[Token], j: int, text: str, endings: frozenset[str], first: bool) -> int:
    """How many tokens from `j` on an element matches: 1, 2 for a hyphenated spelling of one word, or 0."""
    if j >= len(told):
        return 0
    token = told[j]
    if element.token.values or element.token.days:
        return int(_same_number(element.token, token, told, j, text))
    if token.values and token.text != element.token.text or token.days:
        return 0
    if token.text in element.forms or _is_form(element.token, token, endings, first):
        return 1
    if j + 1 < len(told) and _HYPHEN.fullmatch(text, token.end, told[j + 1].start):
        return 2 * (token.text + told[j + 1].text in element.forms)
    return 0


def _is_extra_initial(told: Sequence[Token], j: int, text: str) -> bool:
    return j + 1 < len(told) and _is_initial(told[j], text) and bool(_GAP.fullmatch(text, told[j].end, told[j + 1].start))


def _is_form(wanted: Token, token: Token, endings: frozenset[str], first: bool) -> bool:
    if wanted.word.unspaced or token.word.unspaced:
        return False
    return is_inflected(wanted.text, token.text, endings, first=first) or _is_long_vowel(wanted.text, token.text)


def _is_long_vowel(a: str, b: str) -> bool:
    return a.rstrip("ー") == b.rstrip("ー") and a.rstrip("ー") != ""


def _same_number(wanted: Token, token: Token, told: Sequence[Token], j: int, text: str) -> bool:
    if wanted.days:
        return tells(wanted.days, token.days)
    if token.days:
        return _is_year_of(wanted, token)
    if wanted.text == token.text and wanted.joined == token.joined:
        return True
    if wanted.weak and not token.values:
        return False
    return (
        bool(wanted.values & token.values)
        and wanted.ordinal == token.ordinal
        and (not token.joined or wanted.joined)
        and (wanted.unit == token.unit or "" in (wanted.unit, token.unit))
        and (not token.weak or _closes(told, j, text))
    )


def _is_year_of(wanted: Token, token: Token) -> bool:
    """Whether a number is the year of a date."""
    years = {str(day[0]) for day in token.days if day[0]}
    return not (wanted.unit or wanted.ordinal or wanted.joined) and bool(wanted.values & years)


def _closes(told: Sequence[Token], j: int, text: str) -> bool:
    """Whether no word follows a token before the next mark."""
    return j + 1 == len(told) or bool(text[told[j].end : told[j + 1].start].strip())


def _stands_alone(told: Sequence[Token], first: int, last: int, text: str) -> bool:
    """Whether what is named is no part of a longer name or number."""
    start, end = told[first].start, told[last - 1].end
    opens_with_number = bool(told[first].values or told[first].days)
    ends_with_number = bool(told[last - 1].values or told[last - 1].days)
    before = text[max(0, start - 2) : start]
    if not opens_with_number and (_HYPHENED_BEFORE.search(before) or _IRISH.search(before)):
        return False
    if ends_with_number and _DECADE.match(text, end):
        return False
    if not ends_with_number and _HYPHENED_AFTER.match(text, end):
        tail = told[last].text if last < len(told) else ""
        return tail in _TAILS or len(tail) <= 2
    return not _is_longer(told, first, last, text)


def _is_longer(told: Sequence[Token], first: int, last: int, text: str) -> bool:
    """Whether a word before or after makes another name of what is named ("New York", "Kansas City")."""
    start, end = told[first].start, told[last - 1].end
    if _UNSPACED_FORMERS.search(text[max(0, start - 8) : start]):
        return True
    follower = _FOLLOWERS.match(text, end)
    if follower and " ".join(t.text for t in told[first:last]) not in _CITIES:
        return True
    if first == 0 or told[first - 1].text not in _folded_formers():
        return False
    former = told[first - 1]
    if text[former.end : start].strip(" -‐‑."):
        return False
    return text[former.start].isupper() or not text[start].isupper()


@lru_cache(maxsize=1)
def _folded_formers() -> frozenset[str]:
    return frozenset(map(fold, _FORMERS))


def _has_case(way: Target, told: Sequence[Token], first: int, last: int, text: str) -> bool:
    if not way.exact_case:
        return True
    written = text[told[first].start : told[last - 1].end]
    return any(c.isupper() for c in written) or (first == 0 and last == len(told))


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
