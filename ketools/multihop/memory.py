"""The edits as the agents see them: a graph of facts, a dense index over their sentences, a scope."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ketools.core.names import Names
from ketools.core.questions import is_question
from ketools.core.requests import EditRequest, Kind, chat_prompt
from ketools.core.text import normalise
from ketools.knowledge.relations import Relation
from ketools.layers.kinds.note import Note
from ketools.multihop.parsing import told_relation
from ketools.notes import DemonstrationPool, NoteBook, statement
from ketools.notes.memory import remember
from ketools.notes.scope import SLOT, request_relation
from ketools.retrieval import Encoder, FactView

POOL = DemonstrationPool(())

MOST_TOLD = 300
"""How many relations that only edits tell are looked for in questions."""


@dataclass(frozen=True)
class Remembered:
    """One edit in memory. `score`: 1 for an exact match, else the cosine of what found it."""

    edit_id: str
    request: EditRequest
    score: float = 1.0

    @property
    def erased(self) -> bool:
        """Whether this is a fact that is not to be told any more."""
        return self.request.kind is Kind.ERASE

    @cached_property
    def sentence(self) -> str:
        """The edit as memories keep it, with its full stop; of an erasure nothing."""
        return "An erased fact." if self.erased else f"{statement(self.request)}."

    @cached_property
    def relation(self) -> str | None:
        """The name of its relation: one of `ketools.knowledge.relations`, else what the request names."""
        known = request_relation(self.request)
        return known.name if known else self.request.relation


class EditMemory:
    """Insertions and modifications, oldest first. Immutable; embeds when it is searched, not before.

    Erasures are no facts, but the questions that they cover are found: what is asked there must not be answered.
    `aliases`: other names by subject; a fact is found by any of them. `index`: gives a kept index of these
    facts; without it one is made.
    """

    def __init__(
        self,
        facts: Iterable[tuple[str, EditRequest]],
        encoder: Encoder | None = None,
        aliases: Mapping[str, Collection[str]] | None = None,
        index: Callable[[], FactView] | None = None,
    ) -> None:
        self._index = index
        kinds = (Kind.INSERT, Kind.MODIFY, Kind.ERASE)
        self._all = tuple(Remembered(edit_id, request) for edit_id, request in facts if request.kind in kinds)
        self.facts = tuple(fact for fact in self._all if not fact.erased)
        self._age = {fact.edit_id: i for i, fact in enumerate(self._all)}
        self._encoder, self._aliases = encoder, aliases or {}
        pairs = [(other, name) for name, others in self._aliases.items() for other in others]
        self._canonical = {normalise(other).removeprefix("the "): normalise(name) for other, name in pairs}
        self._by_id = {fact.edit_id: fact for fact in self.facts}
        self._graph: dict[tuple[str, str], list[Remembered]] = defaultdict(list)
        for fact in self._all:
            if fact.relation:
                self._graph[self.canonical(fact.request.subject), fact.relation].append(fact)

    def __len__(self) -> int:
        return len(self.facts)

    def canonical(self, name: str) -> str:
        """The name by which an entity is found: its first one, normalised, without an article."""
        plain = normalise(name).removeprefix("the ")
        return self._canonical.get(plain, plain)

    def edges(self, entity: str, relation: str) -> list[Remembered]:
        """The edits of one fact, newest first: more than one when live edits disagree or repeat."""
        return self._graph.get((self.canonical(entity), relation), [])[::-1]

    def nearest(self, queries: Sequence[str], k: int = 1) -> list[list[Remembered]]:
        """Per query the k facts nearest in meaning, nearest first. Raises `ModelError` without an encoder."""
        found = self._view.search(queries, k) if self.facts else [[] for _ in queries]
        return [[Remembered(f.fact.id, self._by_id[f.fact.id].request, f.score) for f in row] for row in found]

    def in_scope(self, question: str) -> list[Remembered]:
        """The edits that a question of one hop asks for, erasures among them, most relevant first.

        An edit counts only when the question names its subject: nothing is concluded backwards.
        """
        hits = self._book.in_scope(chat_prompt(question))[::-1]
        found = [Remembered(hit.edit_id, hit.request, hit.score) for hit in hits]
        return [fact for fact in found if self._names(fact.request.subject).stand_in(question)]

    def newest_first(self, edits: Iterable[Remembered]) -> list[Remembered]:
        """The same edits by age."""
        return sorted(edits, key=lambda fact: -self._age[fact.edit_id])

    def erasure(self, question: str) -> Remembered | None:
        """The erasure that a question of one hop falls under, unless the fact was told anew since."""
        if len(self.facts) == len(self._all):
            return None
        found = self.newest_first(self.in_scope(question))
        return found[0] if found and found[0].erased else None

    def subjects(self) -> set[str]:
        """Whose facts were edited."""
        return {fact.request.subject for fact in self._all}

    @cached_property
    def told_relations(self) -> tuple[Relation, ...]:
        """Relations that `ketools.knowledge.relations` does not know, as the newest edits put them."""
        found: dict[str, Relation | None] = {}
        for fact in self._all[::-1]:
            if request_relation(fact.request) is None and len(found) < MOST_TOLD:
                names = self._names(fact.request.subject)
                texts = [names.replaced(text, SLOT) for text in (fact.request.prompt, *fact.request.rephrases)]
                found.setdefault(texts[0], told_relation(texts[0], [t for t in texts if is_question(t)]))
        return tuple(relation for relation in found.values() if relation)

    def _names(self, subject: str) -> Names:
        return Names((subject, *self._aliases.get(subject, ())))

    @cached_property
    def _book(self) -> NoteBook:
        notes = [(fact.edit_id, Note("multihop", fact.request)) for fact in self._all]
        return NoteBook(notes, encoder=self._encoder, aliases=self._aliases, pool=POOL)

    @cached_property
    def _view(self) -> FactView:
        if self._index is not None:
            return self._index()
        from ketools.retrieval import MiniLMEncoder

        return remember([(f.edit_id, f.request) for f in self.facts], self._encoder or MiniLMEncoder())
