"""Names in any script: folded words, a canonical form, and where a name stands in a text.

Words are runs of letters, marks and digits (Unicode categories L, M, N); scripts that are written without spaces
are compared character by character. Folding removes what typography adds: case, width, Latin, Greek, Cyrillic,
Arabic and Hebrew diacritics, soft hyphens and zero-width characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from ketools.core.inflection import inflections, is_inflected
from ketools.core.text import word_set

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_INVISIBLE = "\u00ad\u200b-\u200f\u2060\ufeff\u0640"  # the last one is the Arabic tatweel
_WORD = regex.compile(
    rf"(?V1)(?P<unspaced>[{_UNSPACED}]\p{{M}}*)"
    rf"|[\p{{Katakana}}\u30fc\uff9e\uff9f]+"
    rf"|(?:[[\p{{L}}\p{{N}}\p{{M}}{_INVISIBLE}]--[{_UNSPACED}\p{{Katakana}}\u02b9-\u02bf]])+(?:[+#]+(?![\p{{L}}\p{{N}}]))?"
    r"|&"
)
_DROPPED = regex.compile(rf"[{_INVISIBLE}]")
_FOLDED_MARKS = regex.compile(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Arabic}\p{Hebrew}]\p{M}*)\p{M}")
_NO_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}+#]|[\u02b9-\u02bf]")
_GAP = regex.compile(
    r"(?:[\s\p{Pd}\p{Pi}\p{Pf}_*,·・/()\[\]\"'`´\u02b9-\u02bf′‐]|\.(?!\s)|(?<=\b(?:\p{L}|st|mt|ft|dr|mr|mrs|jr|sr|no|vs))\.)*",
    regex.IGNORECASE,
)
"""What may stand between two words of one name; a full stop only inside a word or behind an abbreviation."""

_APOSTROPHES = "'’‘ʼ`´′ʹ＇"
_SPECIAL = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŋ": "n"}
    | {"ى": "ي", "ی": "ي", "ک": "ك", "ة": "ه", "ٱ": "ا"}
)
_ARTICLES = frozenset(("the", "a", "an"))
_AROUND_ARTICLE = " \t\n_*\"“‘«'"
_LOWER_ARTICLES = word_set(
    "le la les un une el los las uno una lo il gli i der die das den dem des ein eine einen einem einer de het een "
    "o os as um uma en ett"
)
"""Articles of other languages, taken off only in small letters before a capital: `la France`, but `La Paz`."""

_SMALL_WORDS = word_set(
    "us it who is in no am as at be by do go he me my of on or so to up we an and are but can had has her him his how "
    "may not now one our out she the too two was you all any for get let say see use way"
)
"""A name like one of these counts in capitals alone: US, WHO."""

_ELIDED = frozenset(("l", "d"))
_CONJUNCTION = "and"


@dataclass(frozen=True, slots=True)
class Word:
    """A folded word and its place `[start, end)` in the text that it comes from.

    `unspaced`: one character of a script that is written without spaces.
    """

    text: str
    start: int
    end: int
    unspaced: bool = False


@dataclass(frozen=True, slots=True)
class Span:
    """Where a name stands. `whole`: it is not a visible part of a longer name ('York' in 'New York')."""

    start: int
    end: int
    whole: bool = True


@lru_cache(maxsize=65536)
def fold(word: str) -> str:
    """A word without case, width, foldable diacritics and invisible characters."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKC", _DROPPED.sub("", word)).casefold()
    plain = _FOLDED_MARKS.sub("", _NO_WORD.sub("", unicodedata.normalize("NFKD", plain)))
    plain = unicodedata.normalize("NFC", plain.translate(_SPECIAL))
    return "".join(map(_digit, plain)) if any(c.isdigit() for c in plain) else plain


def _digit(character: str) -> str:
    value = unicodedata.digit(character, None) if character.isdigit() else None
    return character if value is None else str(value)


@lru_cache(maxsize=4096)
def words(text: str) -> tuple[Word, ...]:
    """The folded words of a text in order; initials with dots ('U.S.', 'J. R. R.') are one word."""
    found = []
    for match in _WORD.finditer(text):
        folded = _CONJUNCTION if match[0] == "&" else fold(match[0])
        if folded:
            found.append(Word(folded, match.start(), match.end(), match["unspaced"] is not None))
    return tuple(_joined_initials(found, text))


def _joined_initials(found: Sequence[Word], text: str) -> list[Word]:
    joined: list[Word] = []
    for word in found:
        last = joined[-1] if joined else None
        if last and _is_initial(word, text) and text[last.end : last.end + 1] == "." and _are_initials(last, text):
            gap = text[last.end : word.start]
            if gap.strip() == ".":
                joined[-1] = Word(last.text + word.text, last.start, word.end)
                continue
        joined.append(word)
    return joined


def _is_initial(word: Word, text: str) -> bool:
    return len(word.text) == 1 and not word.unspaced and text[word.start].isalpha()


def _are_initials(word: Word, text: str) -> bool:
    written = text[word.start : word.end]
    return _is_initial(word, text) or ("." in written and len(word.text) <= 6)


@lru_cache(maxsize=65536)
def name_words(name: str) -> tuple[str, ...]:
    """The folded words that make a name: without a leading article and a closing possessive; () for bare symbols."""
    name = unicodedata.normalize("NFC", name)
    found = list(words(name))
    if len(found) > 1 and found[-1].text == "s" and _follows_apostrophe(name, found[-1].start):
        found.pop()
    if len(found) > 1 and _is_article(found, name):
        found.pop(0)
    texts = [word.text for word in found]
    if texts:
        texts[0] = _without_arabic_article(texts[0])
    return tuple(texts)


def _follows_apostrophe(text: str, place: int) -> bool:
    return place > 0 and text[place - 1] in _APOSTROPHES


def _is_article(found: Sequence[Word], name: str) -> bool:
    first, second = found[0], found[1]
    written = name[first.start : first.end]
    if first.text in _ELIDED:
        return written.islower() and second.start == first.end + 1 and name[first.end] in _APOSTROPHES
    if first.text in _ARTICLES:
        return name[first.end : second.start].strip(_AROUND_ARTICLE) == ""
    return first.text in _LOWER_ARTICLES and written.islower() and name[second.start].isupper()


def _without_arabic_article(word: str) -> str:
    return word[2:] if word.startswith("ال") and len(word) > 4 else word


_STEPS = 4
"""Marks of one script behind letters of another fold in more than one step."""


def canonical(name: str) -> str:
    """One spelling for all typographic variants of a name; of bare symbols, the symbols. Never empty for a name."""
    for _ in range(_STEPS):
        spelt = " ".join(name_words(name)) or unicodedata.normalize("NFKC", name).casefold().strip()
        if spelt == name:
            break
        name = spelt
    return name


def same_name(a: str, b: str) -> bool:
    """Whether two spellings are typographic variants of one name."""
    return canonical(a) == canonical(b)


def find(name: str, text: str) -> tuple[Span, ...]:
    """Where the name stands in the text, in any of its spellings and with the usual endings and particles.

    Never inside a longer word ('York' in 'Yorkshire'). A possessive ending does not belong to the span.
    """
    wanted = name_words(name)
    if not wanted:
        return _literal(name.strip(), text)
    found = words(text)
    endings = inflections(text)
    is_acronym = len(wanted) == 1 and wanted[0] in _SMALL_WORDS and name.strip().isupper()
    spans, i = [], 0
    while i < len(found):
        end = _match(wanted, found, i, text, endings)
        if end and not (is_acronym and text[found[i].start : found[i].end].islower()):
            spans.append(_span(found, _with_article(name, found, i, text), end, text))
        i = end or i + 1
    return tuple(spans)


def _literal(name: str, text: str) -> tuple[Span, ...]:
    return tuple(Span(*m.span()) for m in regex.finditer(regex.escape(name), text)) if name else ()


def _match(wanted: Sequence[str], found: Sequence[Word], i: int, text: str, endings: frozenset[str]) -> int:
    """The index after the last word of a match that begins at `i`, or 0."""
    if i + len(wanted) > len(found):
        return 0
    for k, name in enumerate(wanted):
        word = found[i + k]
        if word.text != name and not (word.unspaced is False and is_inflected(name, word.text, endings, first=k == 0)):
            return 0
        if k and not _GAP.fullmatch(text, found[i + k - 1].end, word.start):
            return 0
    return i + len(wanted)


def _with_article(name: str, found: Sequence[Word], i: int, text: str) -> int:
    """Where a match begins that begins at word `i`: one word before, when that is the article of the name itself."""
    if i == 0 or found[i - 1].text not in _ARTICLES or words(name)[0].text != found[i - 1].text:
        return i
    return i - 1 if text[found[i - 1].end : found[i].start].strip(_AROUND_ARTICLE) == "" else i


def _span(found: Sequence[Word], first: int, end: int, text: str) -> Span:
    start, stop = found[first].start, found[end - 1].end
    return Span(start, stop, not is_part_of_name(text, start, stop))


_TITLES = word_set(
    "mr mrs ms miss dr prof professor sir president king queen prince princess chancellor minister senator judge "
    "author writer painter singer actor actress director film movie city country company university book novel "
    "herr frau monsieur madame señor señora"
)
_FIRST_PARTS = word_set(
    "new old north south east west northern southern eastern western upper lower port saint st san santa fort mount "
    "lake great little lady lord los las el la"
)
"""Words that make another name of the one that follows them, also at the beginning of a sentence."""

_GERMAN = regex.compile(r"\b(?:der|die|das|und|ist|wer|wie|welche[rs]?|von|wo|war|hat|wird)\b", regex.IGNORECASE)
_HYPHEN_AFTER = regex.compile(r"[-\u2010\u2011]\p{L}")
_HYPHEN_BEFORE = regex.compile(r"\w[-\u2010\u2011]$")
_LETTERS = regex.compile(r"\p{L}+")
_NEXT = regex.compile(r"\s(\p{Lu}[\p{L}\p{N}_]*)")
_BEFORE = regex.compile(r"([\p{L}][\p{L}\p{N}_.'’]*)\s$")
_OPENS = regex.compile(r"(?:.*[.?!:\"“«(\n]\s*)?", regex.DOTALL)
_NO_NAMES = frozenset({"I"})


def is_part_of_name(text: str, start: int, end: int) -> bool:
    """Whether capitals or hyphens around `text[start:end]` show a longer name that it belongs to."""
    if _HYPHEN_AFTER.match(text, end) or _HYPHEN_BEFORE.search(text[:start]):
        return True
    if _is_shouted(text) or not text[start].isupper() or _GERMAN.search(text):
        return False
    after = _NEXT.match(text, end)
    if after and after[1] not in _NO_NAMES:
        return True
    before = _BEFORE.search(text[:start])
    if before is None:
        return False
    word: str = before[1]
    if word.casefold() in _ARTICLES:
        return False
    if word.casefold() in _FIRST_PARTS:
        return word[0].isupper()
    is_first = _opens(text, before.start())
    return word[0].isupper() and not (is_first or word.isupper() or word.strip(".").casefold() in _TITLES)


@lru_cache(maxsize=4096)
def _is_shouted(text: str) -> bool:
    """Whether capitals tell nothing: the text is in capitals, or nearly every word begins with one."""
    letters = _LETTERS.findall(text)
    return text.isupper() or (len(letters) > 3 and sum(word[0].isupper() for word in letters) > 0.8 * len(letters))


def longest_span(subject: str, prompt: str) -> str:
    """The subject as the prompt writes it: with its article, and whole where the subject is a part of a longer name.

    `United Kingdom` in "The capital of the United Kingdom is" gives `the United Kingdom`, `Obama` in "The wife of
    Barack Obama is" gives `Barack Obama`. Returns the subject as it is when the prompt does not name it.
    """
    spans = find(subject, prompt)
    if not spans:
        return subject
    span = next((s for s in spans if s.whole), spans[0])
    start, end = (span.start, span.end) if span.whole else _widened(prompt, span.start, span.end)
    last = next((w for w in reversed(words(prompt)) if w.end <= start), None)
    if last and last.text in _ARTICLES and prompt[last.end : start].strip(_AROUND_ARTICLE) == "":
        start = last.start
    return prompt[start:end]


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """The span with the capitalised words before and after it that make it longer."""
    while (before := _BEFORE.search(text[:start])) and before[1][0].isupper() and not _opens(text, before.start()):
        start = before.start()
    while after := _NEXT.match(text, end):
        end = after.end()
    return start, end


def _opens(text: str, place: int) -> bool:
    """Whether a sentence begins at a place, where capitals tell nothing."""
    return bool(_OPENS.fullmatch(text[:place]))


_WRAPPING = ' \t\n"“”„‚‘«»‹›「」『』《》*_`'
_CLOSING = ".,;:。、，；："


def as_written(subject: str, prompt: str) -> str | None:
    """The subject in the prompt's own spelling, without quotation marks and closing punctuation; None where the
    prompt does not name it."""
    bare = _bare(subject)
    place = prompt.casefold().find(bare.casefold()) if len(prompt.casefold()) == len(prompt) else prompt.find(bare)
    if bare and place >= 0:
        return prompt[place : place + len(bare)]
    spans = find(subject, prompt)
    if not spans:
        return None
    span = next((s for s in spans if s.whole), spans[0])
    return prompt[span.start : span.end]


def _bare(subject: str) -> str:
    """The subject without what stands around it; the full stop of an abbreviation ('D.C.') stays."""
    bare = subject.strip(_WRAPPING)
    cut = bare.rstrip(_CLOSING + _WRAPPING)
    is_abbreviated = regex.search(r"(?:\b\p{L}\.\s?)+$", bare) is not None
    return bare if is_abbreviated or not cut else cut


def ordinary_spellings(name: str) -> tuple[str, ...]:
    """How a name would ordinarily be written: as it stands, and with capitals where it has none or nothing else."""
    made = [name]
    if name.islower() or (name.isupper() and len(name) > 4):
        made.append(regex.sub(r"\p{L}[\p{L}\p{M}'’]*", lambda m: m[0][:1].upper() + m[0][1:].lower(), name))
    return tuple(dict.fromkeys(made))


def masked(name: str, text: str, slot: str, *, whole: bool = False) -> str:
    """The text with `slot` in the place of the name; with `whole`, not where it is part of a longer name."""
    out, end = "", 0
    for span in find(name, text):
        if span.whole or not whole:
            out, end = out + text[end : span.start] + slot, span.end
    return out + text[end:]


@dataclass(frozen=True)
class Names:
    """The names of one thing, to be found in texts where they stand for themselves."""

    names: tuple[str, ...]

    def spans(self, text: str) -> tuple[Span, ...]:
        """Where any of the names stands for itself, in order and without overlaps, the longest first."""
        found = sorted((s for name in self.names for s in find(name, text) if s.whole), key=lambda s: (s.start, -s.end))
        kept: list[Span] = []
        for span in found:
            if not kept or span.start >= kept[-1].end:
                kept.append(span)
        return tuple(kept)

    def stand_in(self, text: str) -> bool:
        """Whether one of the names stands in the text."""
        return any(span.whole for name in self.names for span in find(name, text))

    def replaced(self, text: str, slot: str) -> str:
        """The text with `slot` in the place of each of the names."""
        out, end = "", 0
        for span in self.spans(text):
            out, end = out + text[end : span.start] + slot, span.end
        return out + text[end:]
