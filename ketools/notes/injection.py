"""Where notes meet prompts: what is in scope is written before the question, and nothing else is.

The service, verification and every server put notes into prompts through here: all see the same model.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ketools.core.errors import StorageError
from ketools.core.questions import is_question
from ketools.core.requests import EditRequest, Kind, Message, Prompt, Trait
from ketools.core.text import normalise
from ketools.knowledge.relations import Relation
from ketools.knowledge.scope import Scope
from ketools.layers.artefacts import Acts, Scoped, SealedRequest
from ketools.layers.composition import BASE, EditLayer
from ketools.notes.deciding import NoteScope
from ketools.notes.demonstrations import SHARES, DemonstrationPool, block
from ketools.notes.scope import GENERAL_TOPICS, NoteForm, request_relation
from ketools.retrieval import Encoder

Notes = Sequence[tuple[str, Scoped]]
Unseal = Callable[[str], str]

TOKENS_PER_DEMONSTRATION = 32


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prompt as it is served: with its notes, under the layer in which the routed edits that it asks for act.

    `used`: ids of the edits in scope, notes in the order of writing, then routed ones. `reasons`: for each of them,
    what decided that it is in scope.
    """

    prompt: Prompt
    layer: EditLayer
    used: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Budget:
    """How much may be put before a question: `characters` in all, and IKE's `demonstrations`.

    `tokens`: the same in tokens of the served model, when `count` can tell them.
    """

    characters: int = 2000
    demonstrations: int = 4
    tokens: int | None = None
    count: Callable[[str], int] | None = None

    def allows(self, text: str) -> bool:
        """Whether a text is within every bound."""
        if len(text) > self.characters:
            return False
        return self.tokens is None or self.count is None or self.count(text) <= self.tokens


def budget_of(context_length: int, count: Callable[[str], int]) -> Budget:
    """A third of a model's context for notes, with as many demonstrations as IKE takes where there is room."""
    tokens = context_length // 3
    paper = sum(share for _, share in SHARES)
    room = tokens >= paper * TOKENS_PER_DEMONSTRATION
    return Budget(8 * tokens, paper if room else Budget.demonstrations, tokens, count)


@dataclass(frozen=True, slots=True)
class Hit:
    """A note in scope, with its request. `score` is 1 when names and templates decided; `reason`: what decided."""

    edit_id: str
    note: Scoped
    request: EditRequest
    score: float
    reason: str = ""


class NoteInjector:
    """Injects notes for a server: keeps the indexes of the note lists seen last. Thread-safe.

    `aliases`: other names by subject. `pool`: demonstrations for IKE. `scope`: decides about facts of no known
    relation; without it rules do, as far as they go. `unseal`: opens what erasures guard. `capacity`: how many lists
    to keep.
    """

    def __init__(
        self,
        *,
        encoder: Encoder | None = None,
        aliases: Mapping[str, Collection[str]] | None = None,
        pool: DemonstrationPool | None = None,
        budget: Budget | None = None,
        scope: Scope | None = None,
        unseal: Unseal | None = None,
        capacity: int = 16,
    ) -> None:
        self._encoder, self._aliases, self._pool, self._budget = encoder, aliases or {}, pool, budget
        self._scope, self._unseal = scope, unseal
        self._capacity = capacity
        self._books: OrderedDict[int, tuple[Notes, NoteBook]] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, prompt: Prompt, layer: EditLayer) -> Prepared:
        """The prompt as the layer serves it: notes in scope put in, routed edits in scope acting."""
        return self.book(layer.scoped).prepare(prompt, layer) if layer.scoped else Prepared(prompt, layer)

    def request(self, note: Scoped) -> EditRequest:
        """The request of a note; that of an erasure is opened. Raises StorageError where it cannot be."""
        return opened(note, self._unseal)

    def book(self, notes: Notes) -> NoteBook:
        """The index of these notes, built on first use and found again by the identity of the sequence."""
        with self._lock:
            kept = self._books.get(id(notes))
            if kept is None or kept[0] is not notes:
                kept = (notes, self._build(notes))
                self._books[id(notes)] = kept
            self._books.move_to_end(id(notes))
            while len(self._books) > self._capacity:
                self._books.popitem(last=False)
            return kept[1]

    def _build(self, notes: Notes) -> NoteBook:
        return NoteBook(
            notes,
            encoder=self._encoder,
            aliases=self._aliases,
            pool=self._pool,
            budget=self._budget,
            scope=self._scope,
            unseal=self._unseal,
        )


class NoteBook:
    """The notes of one layer, indexed by the words of the names that bring them into scope.

    A look-up reads only notes whose subject (or, for relations with an inverse, new object) occurs in the
    conversation, so ten thousand notes cost what the few named ones cost.
    """

    def __init__(
        self,
        notes: Notes,
        *,
        encoder: Encoder | None = None,
        aliases: Mapping[str, Collection[str]] | None = None,
        pool: DemonstrationPool | None = None,
        budget: Budget | None = None,
        scope: Scope | None = None,
        unseal: Unseal | None = None,
    ) -> None:
        self._ids = [edit_id for edit_id, _ in notes]
        others = aliases or {}
        told = [(note, opened(note, unseal)) for _, note in notes]
        self._forms = [NoteForm(note, asked, tuple(others.get(asked.subject, ()))) for note, asked in told]
        self._encoder = encoder
        self._pool = pool or DemonstrationPool.from_facts()
        self._budget = budget or Budget()
        self._scope = NoteScope(self._forms, encoder, scope)

    def in_scope(self, prompt: Prompt) -> list[Hit]:
        """The notes that the prompt asks about, most relevant and newest last; per fact only the newest."""
        decided = self._scope.in_scope(prompt)
        found = [(self._ids[one.position], self._forms[one.position], one) for one in decided]
        return [Hit(edit_id, form.note, form.request, one.score, one.reason) for edit_id, form, one in found]

    def prepare(self, prompt: Prompt, layer: EditLayer = BASE) -> Prepared:
        """Write the notes in scope before the question, and let the most relevant routed edit in scope act.

        That one alone: each was trained to say its target, and two at once would say neither.
        """
        hits = self.in_scope(prompt)
        notes = self._affordable([hit for hit in hits if hit.note.acts is Acts.PROMPT])
        routed = [hit for hit in hits if hit.note.acts is Acts.ROUTE][-1:]
        told = put_before(prompt, self._lead(notes)) if notes else prompt
        used = [*notes, *routed]
        return Prepared(
            told,
            layer.activate([hit.edit_id for hit in routed]),
            tuple(hit.edit_id for hit in used),
            tuple(hit.reason for hit in used),
        )

    def _affordable(self, hits: list[Hit]) -> list[Hit]:
        """The most relevant and newest notes that fit the budget; at least one. Of feedback the nearest alone."""
        feedback = [hit for hit in hits if hit.note.method == FEEDBACK]
        hits = [hit for hit in hits if hit not in feedback[:-1]]
        first = len(hits) - 1
        while first > 0 and self._budget.allows(_told(hits[first - 1 :])):
            first -= 1
        return hits[max(first, 0) :]

    def _lead(self, hits: Sequence[Hit]) -> str:
        shown = [hit.request for hit in hits if _is_demonstrated(hit)]
        plain = _told([hit for hit in hits if not _is_demonstrated(hit)])
        if not shown:
            return plain
        new_fact = f"New Fact: {statement(shown[-1])}\nPrompt: {plain}"
        return self._blocks(shown, new_fact) + new_fact

    def _blocks(self, shown: Sequence[EditRequest], new_fact: str) -> str:
        """Demonstrations for the last fact, then every fact in scope as its own copy demonstration.

        As many as fit the budget together with the new fact; the least similar ones go first.
        """
        request, most = shown[-1], self._budget.demonstrations
        relation = request_relation(request)
        chosen = self._pool.choose(
            statement(request),
            relation.name if relation else None,
            most,
            encoder=self._encoder,
            avoid=[name for r in shown for name in (r.subject, r.target_new)],
        )
        copied = shown if most else shown[:-1]
        blocks = [f"{text}\n\n" for text in (*(d.block for d in chosen), *map(own_copy, copied))]
        while blocks and not self._budget.allows("".join(blocks) + new_fact):
            blocks.pop(0)
        return "".join(blocks)


def opened(note: Scoped, unseal: Unseal | None) -> EditRequest:
    """What brings a note into scope; that of an erasure is opened. Raises StorageError where it cannot be."""
    if not isinstance(note.request, SealedRequest):
        return note.request
    if unseal is None:
        raise StorageError("What an erasure guards is sealed; only a service on the journal it was made in serves it.")
    return note.request.opened(unseal)


FEEDBACK = "memprompt"
"""The method whose notes are a user's clarifications."""


def _told(hits: Sequence[Hit]) -> str:
    """Notes as they stand before a question: what is to be imagined (ICE), or a clarification (MemPrompt)."""
    forms = ("Clarification: {}. " if hit.note.method == FEEDBACK else "Imagine that {}. " for hit in hits)
    return "".join(form.format(statement(hit.request)) for form, hit in zip(forms, hits, strict=True))


def _is_demonstrated(hit: Hit) -> bool:
    """Whether the note is written in IKE's form; a manner of speaking has no new fact to demonstrate."""
    return hit.note.method == "ike" and hit.request.kind is not Kind.PERSONALITY


def own_copy(request: EditRequest) -> str:
    """The fact's own copy demonstration, which IKE puts last."""
    told = statement(request)
    return block(told, told.removesuffix(f" {request.told_target}"), request.told_target)


def statement(request: EditRequest) -> str:
    """The edit as a statement without its full stop.

    A prompt that is no cloze (a question, a whole passage) becomes its relation's cloze where that is known.
    """
    if request.kind is Kind.PERSONALITY:
        general = request.subject.casefold() in GENERAL_TOPICS
        if general and request.trait not in (Trait.POSITIVE, Trait.NEGATIVE):
            return f"you show {request.trait}"
        return request.sentence
    relation = request_relation(request)
    if relation is None or is_cloze(request.prompt, request.subject, relation):
        return request.sentence
    return relation.statement(request.subject, request.told_target)


def is_cloze(prompt: str, subject: str, relation: Relation) -> bool:
    """Whether the prompt is one of the relation's clozes, or a short text of the caller's own to continue."""
    clozes = [normalise(cloze.format(s=subject)) for cloze in relation.cloze]
    ends_in_one = any(normalise(prompt).endswith(cloze) for cloze in clozes)
    return normalise(prompt) in clozes or not (ends_in_one or is_question(prompt))


def put_before(prompt: Prompt, lead: str) -> Prompt:
    """The prompt with text before its question: before the text to continue, or in the last user message."""
    if isinstance(prompt, str):
        return lead + prompt
    last = max(i for i, message in enumerate(prompt) if message.get("role") == "user")
    changed: Message = {**prompt[last], "content": lead + prompt[last].get("content", "")}
    return (*prompt[:last], changed, *prompt[last + 1 :])
