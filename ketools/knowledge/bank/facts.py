"""The bank's facts and the format of its files.

One file a language, `data/LANGUAGE.txt`, in blocks: a relation, a question and a cloze in which `{}` stands for the
subject, then one fact a line. Lines that begin with `//` are comments::

    # capital
    ? What is the capital of {}?
    : The capital of {} is
    France = Paris
    the Netherlands [Netherlands] = Amsterdam | the city of Amsterdam

Behind the answer stand other answers that are right as well. Where a language inflects the name, the prompts have it
as it is written first, and the plain name stands in brackets. A line with `!` tells how a sentence that answers the
question begins, where it is not the cloze.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from ketools.core.errors import InvalidRequest
from ketools.core.text import gap

_ROW = re.compile(r"(?P<named>.+?)(?: \[(?P<subject>[^\]]+)\])? = (?P<answers>.+)")
_MARKS = {"#": "relation", "?": "question", ":": "cloze", "!": "opening"}


@dataclass(frozen=True, slots=True)
class BankFact:
    """One fact.

    `subject`: its plain name; `named`: as the prompts have it. `question`: asked in chat. `cloze`: text that `answer`
    continues; `opening`: the beginning of a sentence that answers the question. `aliases`: other right answers.
    """

    relation: str
    language: str
    subject: str
    named: str
    question: str
    cloze: str
    opening: str
    answer: str
    aliases: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What identifies the fact in the bank."""
        return f"{self.language}|{self.relation}|{self.subject}"

    @property
    def is_nameless(self) -> bool:
        """Whether neither subject nor answer can be a name: all in lower case, in a script that has it, or a number."""
        return all(text == text.lower() != text.upper() or text.isdecimal() for text in (self.subject, self.answer))

    @property
    def answers(self) -> tuple[str, ...]:
        """Every right answer, the usual one first."""
        return (self.answer, *self.aliases)

    def stated(self, answer: str) -> str:
        """The sentence that gives an answer to the question, without a full stop."""
        return f"{self.opening}{gap(self.opening)}{answer}"


@dataclass(frozen=True)
class FactBank:
    """The packaged facts; `digest` names their content in caches."""

    facts: tuple[BankFact, ...]
    digest: str

    @classmethod
    def load(cls) -> FactBank:
        """All packaged facts, English first, the languages in alphabetical order behind it."""
        sources = {file.name.removesuffix(".txt"): file.read_text("utf-8") for file in _data().iterdir()}
        order = sorted(sources, key=lambda language: (language != "en", language))
        digest = hashlib.sha256("\0".join(sources[language] for language in order).encode()).hexdigest()[:16]
        return cls(tuple(fact for language in order for fact in parse(sources[language], language)), digest)

    @property
    def relations(self) -> tuple[str, ...]:
        """The names of the relations, each once."""
        return tuple(dict.fromkeys(fact.relation for fact in self.facts))


def in_rounds(facts: Iterable[BankFact], group: Callable[[BankFact], Hashable]) -> list[BankFact]:
    """The facts so that the first of every group come first, then the second of every group, and so on."""
    seen = Counter[Hashable]()
    turns: list[tuple[int, BankFact]] = []
    for fact in facts:
        turns.append((seen[group(fact)], fact))
        seen[group(fact)] += 1
    return [fact for _, fact in sorted(turns, key=lambda turn: turn[0])]


def parse(text: str, language: str) -> Iterator[BankFact]:
    """The facts of one file. Raises `InvalidRequest` naming the line that is none."""
    block: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("//"):
            continue
        mark, _, rest = line.partition(" ")
        if mark == "#":
            block = {}
        if mark in _MARKS:
            block[_MARKS[mark]] = rest.strip()
        else:
            yield _fact(line, block, language, number)


def _fact(line: str, block: Mapping[str, str], language: str, number: int) -> BankFact:
    found = _ROW.fullmatch(line.strip())
    if found is None or not block.keys() >= {"relation", "question", "cloze"}:
        raise InvalidRequest(f"{language}.txt, line {number}: expected `SUBJECT = ANSWER` under a relation: {line!r}")
    named, subject, answers = found["named"], found["subject"], found["answers"]
    answer, *aliases = answers.split(" | ")
    forms = (block["question"], block["cloze"], block.get("opening", block["cloze"]))
    question, cloze, opening = (_capitalised(form.format(named)) for form in forms)
    subject = subject or named
    return BankFact(block["relation"], language, subject, named, question, cloze, opening, answer, tuple(aliases))


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]


def _data() -> Traversable:
    return files("ketools.knowledge.bank") / "data"
