"""Packaged lists of phrases in many languages, and regular expressions made of them.

A list is a text file of sections. A line in brackets names a section, lines that begin with `#` are comments::

    [denying]
    not | never | *n't
    nicht | kein*
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import regex

from ketools.core.names import fold

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = r"[\p{L}\p{M}\p{N}]"
_RUN = regex.compile(r"[\p{L}\p{M}\p{N}\u00ad\u200b-\u200f\u2060\ufeff]+")
_IS_UNSPACED = regex.compile(rf"(?V1)[{UNSPACED}\u30fc]")
_IS_ARABIC = regex.compile(r"\p{Arabic}")
_HEADER = regex.compile(r"\[([\w :]+)\]")
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("’‘ʼ`´′ʹ＇", "'")
    | dict.fromkeys("‐‑‒−﹣－", "-")
    | dict.fromkeys("“”„«»‹›「」『』《》〈〉＂", '"')
    | dict.fromkeys("、，،﹐", ",")
    | dict.fromkeys("；؛", ";")
    | {"：": ":", "؟": "?", "？": "?", "！": "!", "（": "(", "）": ")", "－": "-", "·": " ", "・": " "}
    | dict.fromkeys("。｡．۔।॥።។", ".")
)


def plain(text: str) -> str:
    """The text with one form of each apostrophe, hyphen, quotation mark, comma and stop; as long as it was."""
    return text.translate(_TYPOGRAPHY)


@cache
def _simplified() -> Mapping[int, str]:
    pairs = sections("ketools.core", "han.txt")["simplified"].split()
    return str.maketrans({pair[0]: pair[1] for pair in pairs})


def simplified(text: str) -> str:
    """The text with simplified Chinese characters; as long as it was."""
    return text if text.isascii() else text.translate(_simplified())


def folded(text: str) -> str:
    """The text as phrases are compared: `plain`, without case, width and foldable diacritics."""
    if text.isascii():
        return plain(text).lower()
    found: str = _RUN.sub(lambda match: fold(match[0]), simplified(plain(text)))
    return found


@cache
def sections(package: str, file: str = "phrases.txt") -> Mapping[str, str]:
    """The sections of a list in a package's `data` folder, by their names: the lines, without comments."""
    found: dict[str, list[str]] = {}
    for line in (files(package) / "data" / file).read_text(encoding="utf-8").splitlines():
        if header := _HEADER.fullmatch(line):
            lines = found.setdefault(header[1], [])
        elif line.strip() and not line.startswith("#"):
            lines.append(line)
    return {name: "\n".join(lines) for name, lines in found.items()}


@cache
def folded_words(package: str, file: str, name: str) -> frozenset[str]:
    """The folded words of a section that spaces and line breaks separate."""
    return frozenset(map(folded, sections(package, file)[name].split()))


def folding(expression: str) -> regex.Pattern[str]:
    """Compiles an expression for folded text: its letters beyond ASCII are folded, its escapes stay."""
    return regex.compile("".join(c if c.isascii() else folded(c) for c in expression))


def phrases(listed: str) -> str:
    """An alternation of the phrases of a list, which `|` or a line break separates; it prefers the longest.

    Phrases match whole words, except in scripts that are written without spaces and where `*` stands for the rest
    of a word. An Arabic phrase may have the conjunctions `wa` and `fa` in front.
    """
    spaced: _Trie = {}
    other: _Trie = {}
    for part in {part.strip() for line in listed.splitlines() for part in line.split("|")} - {""}:
        written = folded(part.strip("*"))
        is_open = part.startswith("*") or _IS_UNSPACED.match(part[0]) is not None
        ends = part.endswith("*") or _IS_UNSPACED.match(part[-1]) is not None
        starts = (written, "و" + written, "ف" + written) if _IS_ARABIC.match(written) else (written,)
        for start in starts:
            _insert(other if is_open else spaced, start, "" if ends else _END)
    found = [rf"(?<!{_LETTER}){_first(spaced)}{_written(spaced)}"] if spaced else []
    found += [f"{_first(other)}{_written(other)}"] if other else []
    return f"(?:{'|'.join(found)})"


_END = rf"(?!{_LETTER})"
_Trie = dict[str, Any]
"""Phrases by their characters; `""` holds how a phrase may end here."""


def _insert(trie: _Trie, phrase: str, end: str) -> None:
    for character in phrase:
        trie = trie.setdefault(character, {})
    trie[""] = end


def _written(trie: _Trie) -> str:
    """The trie as a regular expression that tries longer phrases before the shorter ones that begin them."""
    branches = [_character(c) + _written(rest) for c, rest in sorted(trie.items()) if c]
    if "" in trie:
        branches.append(trie[""])
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _character(character: str) -> str:
    return r"\s+" if character == " " else regex.escape(character)


def _first(trie: _Trie) -> str:
    """A look at the next character, which saves trying every branch."""
    return f"(?=[{''.join(regex.escape(c) for c in sorted(trie) if c)}])"


def any_of(*lists: str) -> regex.Pattern[str]:
    """Finds any phrase of the lists in a folded text."""
    return regex.compile("|".join(phrases(listed) for listed in lists))
