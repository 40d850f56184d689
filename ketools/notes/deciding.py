"""Which notes a prompt asks for: one procedure for notes in prompts and for routed weights.

1. A note whose subject (another of its names or, along an inverse relation, its new object) stands in the
   conversation, and whose relation is known, is decided by the relation's templates and noun phrases
   (`ketools.notes.scope`); what they cannot tell is left to the similarity of sentence embeddings.
2. Every other fact is decided by the learnt scope (`ketools.knowledge.scope`): in any words and script, also where
   the text spells the subject otherwise. Without a learnt scope, by the rules of the first point as far as they go.
   An erasure is decided by both, and acts if either brings it into scope.
3. Of several notes in scope that are the same fact, the newest counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ketools.core.names import name_words, words
from ketools.core.requests import FACTS, Kind, Prompt
from ketools.knowledge.scope import Fact, Facts, Scope
from ketools.knowledge.scope.conversation import pressed
from ketools.knowledge.scope.facts import LEAST
from ketools.notes.scope import Asked, Doubt, NoteForm, asked, decide, resolve
from ketools.notes.spelling import Speller
from ketools.retrieval import Encoder

GUARDED = 0.3
"""The score of the learnt scope from which on an erasure acts: a missed question tells the secret."""

TEMPLATE = "named, in the words of its relation"
SIMILAR = "named, similar to its relation"


@dataclass(frozen=True, slots=True)
class Decision:
    """A note in scope by its position. `score`: 1 when names and templates decided. `reason`: what decided."""

    position: int
    score: float
    reason: str


class NoteScope:
    """Decides over the notes of one layer, indexed by the words of their names."""

    def __init__(self, forms: Sequence[NoteForm], encoder: Encoder | None, scope: Scope | None) -> None:
        self._forms, self._encoder, self._scope = forms, encoder, scope
        self._learnt_at = [i for i, form in enumerate(forms) if scope is not None and (_is_open(form) or _guards(form))]
        ruled = [i for i, form in enumerate(forms) if scope is None or not _is_open(form)]
        self._always = [i for i in ruled if forms[i].is_general]
        self._ruled_at = [i for i in ruled if not forms[i].is_general]
        self._ruled = Facts(_named_by(forms[i]) for i in self._ruled_at)

    @cached_property
    def _learnt(self) -> Facts:
        return Facts(_asked_by(self._forms[i]) for i in self._learnt_at)

    @cached_property
    def _speller(self) -> Speller:
        return Speller(name for form in self._forms for name in (form.request.subject, *form.aliases))

    def in_scope(self, prompt: Prompt) -> list[Decision]:
        """The notes that the prompt asks for, most relevant and newest last; per fact only the newest.

        A message that only asks once more ('Are you sure?') asks for what the one before it asked for.
        """
        prompt = pressed(prompt)
        found = {one.position: one for one in (*self._by_rules(prompt), *self._by_scope(prompt))}
        newest = {self._forms[i].fact: i for i in sorted(found)}
        return [found[i] for i in sorted(newest.values(), key=lambda i: (found[i].score, i))]

    def _by_scope(self, prompt: Prompt) -> list[Decision]:
        if self._scope is None or not self._learnt_at:
            return []
        hits = self._scope.decide(self._learnt, prompt)
        return [Decision(self._learnt_at[hit.position], hit.score, hit.reason) for hit in hits]

    def _by_rules(self, prompt: Prompt) -> list[Decision]:
        question = self._spelt(asked(prompt))
        verdicts = {i: decide(self._forms[i], question) for i in self._named(question)}
        doubts = {i: verdict for i, verdict in verdicts.items() if isinstance(verdict, Doubt)}
        found = [Decision(i, 1.0, TEMPLATE) for i, verdict in verdicts.items() if verdict is True]
        return found + [Decision(i, score, f"{SIMILAR} {score:.2f}") for i, score in self._resolved(doubts).items()]

    def _spelt(self, question: Asked) -> Asked:
        """The question without slips of the pen in names and in the words that ask."""
        if not (self._ruled_at or self._always):
            return question
        history = tuple(map(self._speller.corrected, question.history))
        return Asked(self._speller.corrected(question.text), history)

    def _named(self, question: Asked) -> list[int]:
        text = "\n".join((*question.history, question.text))
        named = [self._ruled_at[k] for k in self._ruled.named(text)] if self._ruled_at else []
        return self._longest_names(sorted({*self._always, *named}), text)

    def _longest_names(self, found: list[int], text: str) -> list[int]:
        """Drop a note whose subject occurs only as a part of another note's ('York' in 'New York')."""
        if len(found) < 2:
            return found
        spans = {i: [(s.start, s.end) for s in self._forms[i].names.spans(text)] for i in found}
        everything = [span for i in found for span in spans[i]]

        def hidden(span: tuple[int, int]) -> bool:
            return any(a <= span[0] and span[1] <= b and (a, b) != span for a, b in everything)

        return [i for i in found if not spans[i] or not all(map(hidden, spans[i]))]

    def _resolved(self, doubts: Mapping[int, Doubt]) -> dict[int, float]:
        if self._encoder is None or not doubts:
            return {}
        similar = resolve(list(doubts.values()), self._encoder)
        return {i: score for i, score in zip(doubts, similar, strict=True) if score is not None}


def _is_open(form: NoteForm) -> bool:
    """Whether a note is a fact of no known relation."""
    return form.relation is None and form.request.kind is not Kind.PERSONALITY


def _guards(form: NoteForm) -> bool:
    """Whether a note is an erasure: whichever way brings it into scope counts."""
    return form.request.kind is Kind.ERASE


def _named_by(form: NoteForm) -> Fact:
    """A note by the names that may bring it near: its subject's and, for a fact, its new object."""
    request = form.request
    target = (request.target_new,) if request.kind in FACTS and _is_name(request.target_new) else ()
    return Fact("", request.subject, (), (*form.aliases, *target))


def _asked_by(form: NoteForm) -> Fact:
    request = form.request
    phrasings = (request.prompt, *request.rephrases)
    return Fact("", request.subject, phrasings, form.aliases, GUARDED if _guards(form) else LEAST)


def _is_name(text: str) -> bool:
    return bool(name_words(text)) and len(words(text)) <= 12
