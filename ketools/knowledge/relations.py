"""The relations that facts are made of, and how a text expresses one.

Every cloze, question and noun phrase of the product comes from a relation: the English ones of this package, or those
of a knowledge provider, in whatever language (`ketools.knowledge.providers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

from ketools.core.errors import NotFound
from ketools.core.names import find, longest_span, masked, words
from ketools.core.plugins import BrokenPlugin
from ketools.knowledge.providers import providers

if TYPE_CHECKING:
    from ketools.core.requests import EditRequest


@dataclass(frozen=True)
class Relation:
    """One relation: its types, and templates in which ``{s}`` stands for the subject.

    A relation's name and its domain belong to one language: what is asked about a fact is asked in its own.
    """

    name: str
    domain: str
    range: str
    noun: str
    clause: str
    cloze: tuple[str, ...]
    questions: tuple[str, ...]
    inverse: str | None = None
    many: bool = False
    private: bool = False
    language: str = "en"

    def statement(self, subject: str, target: str, template: int = 0) -> str:
        """The sentence, without a full stop, that says the fact in one of the cloze templates."""
        return f"{self.cloze[template].format(s=subject)} {target}"


KINDS = {
    "person": "a human",
    "country": "a country",
    "city": "a city",
    "company": "a company",
    "work": "a book",
    "university": "a university",
}
"""How PokeMQA's knowledge prompt names a domain."""


def knowledge_prompt(entity: tuple[str, str] | None) -> str:
    """PokeMQA's line about a question's entity, given by name and domain; None where none is found.

    The bundled model is trained on the line that the agent writes.
    """
    return (
        f"Entity of Question: {entity[0]}, {KINDS.get(entity[1], entity[1])}."
        if entity
        else "Entity of Question: unknown."
    )


class _Relations(Mapping[str, Relation]):
    """Those of this package, then those of the providers; read when one is first asked for."""

    @cached_property
    def _known(self) -> dict[str, Relation]:
        known: dict[str, Relation] = {}
        tables = [import_module("ketools.knowledge.english").ENGLISH]
        for relation in chain(*tables, *(provider.relations() for provider in providers().values())):
            if relation.name in known:
                raise BrokenPlugin(f"Two relations are named {relation.name!r}; uninstall one of the packages.")
            known[relation.name] = relation
        return known

    def __getitem__(self, name: str) -> Relation:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


RELATIONS: Mapping[str, Relation] = _Relations()
"""All relations by name."""


def relation_named(name: str) -> Relation:
    """The relation of that name; `NotFound` lists the near ones."""
    if name not in RELATIONS:
        raise NotFound("relation", name, RELATIONS)
    return RELATIONS[name]


def match_prompt(prompt: str, subject: str) -> Relation | None:
    """The relation that a cloze or question about this subject expresses, in whatever typography."""
    name = longest_span(subject, prompt)
    if not find(name, prompt):
        return None
    return match_masked(masked(subject, prompt.replace(name, _PLACE), _PLACE), _PLACE)


def match_masked(text: str, slot: str) -> Relation | None:
    """The relation that a text with `slot` for the subject expresses."""
    return _by_words().get(_words(text.replace(slot, _PLACE)))


_PLACE = "subjecthere"


def _words(text: str) -> str:
    return " ".join(word.text for word in words(text))


@cache
def _by_words() -> Mapping[str, Relation]:
    """Relations by the folded words of their templates; the first of the table counts."""
    told = {_words(t.format(s=_PLACE)): r for r in reversed([*RELATIONS.values()]) for t in (*r.cloze, *r.questions)}
    return MappingProxyType(told)


def rephrases(relation: Relation, subject: str) -> list[str]:
    """Every way of asking for the fact: first the clozes, then the questions."""
    return [template.format(s=subject) for template in (*relation.cloze, *relation.questions)]


def relation_of(request: EditRequest) -> Relation | None:
    """The known relation that the request names or whose template its prompt is."""
    named = RELATIONS.get(request.relation or "")
    return named or match_prompt(request.prompt, request.subject)
