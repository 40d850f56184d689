"""Makes the questions that verify an edit: phrasings that must change and probes that must not.

Given rephrases and probes come first; what the caller leaves out is made from the relation's templates and
from other subjects that the model is likely to know.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Protocol

from ketools.core.evidence import Source
from ketools.core.names import canonical, longest_span, same_name
from ketools.core.questions import is_question
from ketools.core.requests import FACTS, EditRequest, Kind, Probe
from ketools.knowledge.bank import subject_questions
from ketools.knowledge.forms import Form, formed, other_forms
from ketools.knowledge.relations import RELATIONS, Relation, match_prompt
from ketools.knowledge.traits import OPINION_QUESTIONS

CLOZES, QUESTIONS, NEIGHBOURS, SAME_SUBJECT, UNRELATED, LIVE = 3, 3, 6, 4, 4, 4
ABOUT = 2
"""Questions about the subject of an open fact. General ones cost most: their answers have to be generated."""
FOLLOWING = 10
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "direct": "request",
        "form": "form",
        "live_edit": "journal",
        "bank_neighbour": "bank",
        "bank_unrelated": "bank",
        "bank_subject": "bank",
        "auxiliary": "auxiliary",
    }
)
"""Where probes come from, by kind; other kinds are made by a knowledge provider."""


def probe(prompt: str, kind: str, answer: str | None = None) -> Probe:
    """A probe in the form its prompt asks for: a question as a chat turn, a cloze to continue."""
    return Probe(prompt=prompt, kind=kind, chat=is_question(prompt), answer=answer)


def following(relation: Relation) -> list[Relation]:
    """The relations of what this one leads to, private ones and the way back left out."""
    onward = (r for r in RELATIONS.values() if r.domain == relation.range and not r.private)
    return [r for r in onward if r.name != relation.inverse]


def with_relation(request: EditRequest) -> EditRequest:
    """The request with its relation filled in, when a template tells it."""
    if request.relation is not None or request.kind is Kind.PERSONALITY:
        return request
    relation = match_prompt(request.prompt, request.subject)
    if relation is None:
        return request
    whole = longest_span(request.subject, request.prompt)  # the prompt may tell more of the name: a first name
    named = request.subject if same_name(request.subject, whole) else whole
    return request.model_copy(update={"relation": relation.name, "subject": named})


def asked_for(requests: Iterable[EditRequest]) -> frozenset[str]:
    """Every known prompt that asks for one of the facts."""
    found: set[str] = set()
    for request in requests:
        relation = RELATIONS.get(request.relation or "")
        templates = (*relation.cloze, *relation.questions) if relation else ()
        found.update((request.prompt, *request.rephrases, *(t.format(s=request.subject) for t in templates)))
    return frozenset(found)


@dataclass(frozen=True)
class Implication:
    """A question whose answer follows from an edit.

    `source` asks the model for that answer, with the new object named; without it the answer is in `asked`.
    """

    asked: Probe
    source: Probe | None = None


class Bank(Protocol):
    """Everyday facts that the served model knows, to find probes for facts of no known relation."""

    def neighbours(self, request: EditRequest, count: int) -> Sequence[Probe]:
        """Facts near to the request by meaning, about other subjects; each with the answer that the model gives."""
        ...

    def unrelated(self, request: EditRequest, count: int) -> Sequence[Probe]:
        """Facts far from the request, each with the answer that the model gives."""
        ...

    def same_subject(self, request: EditRequest, count: int) -> Sequence[Probe]:
        """Other facts about the request's subject, each with the answer that the model gives."""
        ...


@dataclass(frozen=True)
class Prober:
    """`subjects[domain]`: names of a domain that the served model is likely to know. `bank`: facts that it knows.

    `forms`: whether a fact of no known relation is asked in other forms too (as chat, after a system message, ...).
    """

    subjects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    bank: Bank | None = None
    forms: bool = False

    def respelt(self, request: EditRequest) -> EditRequest:
        """The request with the subject in the spelling that the model knows, in all its texts ('SPAIN': 'Spain')."""
        known = self._spellings.get(canonical(request.subject))
        if known is None or known == request.subject or request.kind is Kind.PERSONALITY:
            return request

        def spelt(text: str) -> str:
            return text.replace(longest_span(known, text), known)

        changed = {"subject": known, "prompt": spelt(request.prompt), "rephrases": tuple(map(spelt, request.rephrases))}
        return request.model_copy(update=changed)

    @cached_property
    def _spellings(self) -> Mapping[str, str]:
        """The known names by their canonical form."""
        return {canonical(name): name for names in self.subjects.values() for name in names}

    def phrasings(self, request: EditRequest) -> tuple[Probe, ...]:
        """Ways to ask for the edited fact; the first is the request's own prompt."""
        own = probe(request.prompt, "direct")
        given = [probe(text, "rephrase") for text in request.rephrases]
        made = [] if given else [probe(text, "rephrase") for text in self._rephrases(request)]
        formed = self._formed(own, request.kind)
        return tuple(dict.fromkeys([own, *(p for p in [*given, *made] if p.prompt != own.prompt), *formed]))

    def _formed(self, own: Probe, kind: Kind) -> tuple[Probe, ...]:
        """The prompt in other forms; an erased fact is asked for once more after the refusal."""
        if not self.forms or kind is Kind.PERSONALITY:
            return ()
        pressed = (formed(own.prompt, Form.PRESSED),) if kind is Kind.ERASE else ()
        return (*other_forms(own), *pressed)

    def source(self, request: EditRequest, asked: Probe) -> Source:
        """Where a probe of the request comes from."""
        if asked in request.probes or (asked.kind == "rephrase" and asked.prompt in request.rephrases):
            return "caller"
        return SOURCES.get(asked.kind, "provider")

    def locality(
        self, request: EditRequest, live: Sequence[EditRequest] = (), changing: Collection[str] = frozenset()
    ) -> tuple[Probe, ...]:
        """Prompts whose answers must stay: neighbours, the subject's other relations, unrelated facts.

        `live`: other facts that were edited; the newest of them are asked too. `changing`: prompts whose answers are
        edited in the same batch, as `asked_for` tells them.
        """
        if request.probes:
            return request.probes
        return tuple(probe for probe in self._stays(request, live) if probe.prompt not in changing)

    def _stays(self, request: EditRequest, live: Sequence[EditRequest]) -> tuple[Probe, ...]:
        rng = random.Random(hashlib.sha256(request.key.encode()).digest())
        relation = RELATIONS.get(request.relation or "")
        made = [*self._neighbours(request, relation, rng), *self._same_subject(request, relation, rng)]
        made += [probe(other.prompt, "live_edit") for other in live[-LIVE:]]
        if relation is None and self.bank is not None and request.kind is not Kind.PERSONALITY:
            return (*made, *self._from_bank(self.bank, request))
        return (*made, *self._unrelated(request, relation, rng))

    def _from_bank(self, bank: Bank, request: EditRequest) -> list[Probe]:
        """Neighbours, facts about the subject, general questions about it where there are few, and unrelated facts."""
        about = [*bank.same_subject(request, SAME_SUBJECT), *subject_questions(request)][:ABOUT]
        return [*bank.neighbours(request, NEIGHBOURS), *about, *bank.unrelated(request, UNRELATED)]

    def implied(self, request: EditRequest) -> tuple[Implication, ...]:
        """What follows from the edit: the way back, and the new object's own facts asked through the subject.

        Only where the model's own relations are known: others need not know what follows, nor say it in one word.
        """
        relation = RELATIONS.get(request.relation or "")
        if relation is None or request.kind not in FACTS or self.forms:
            return ()
        subject, target = request.subject, request.target_new
        found: list[Implication] = []
        if relation.inverse:
            back = RELATIONS[relation.inverse]
            ways = (*back.cloze[:2], *back.questions[:2])
            found += [Implication(probe(way.format(s=target), "implied", subject)) for way in ways]
        for second in following(relation)[:FOLLOWING]:
            source = probe(second.questions[0].format(s=target), "implied")
            for template, middle in zip(second.questions, (relation.noun, relation.clause), strict=False):
                asked = template.format(s=middle.format(s=subject))
                found.append(Implication(probe(asked[0].upper() + asked[1:], "implied"), source))
        return tuple(found)

    def _rephrases(self, request: EditRequest) -> list[str]:
        if request.kind is Kind.PERSONALITY:
            return [q.format(topic=request.subject) for q in OPINION_QUESTIONS]
        relation = RELATIONS.get(request.relation or "")
        if relation is None:
            return []
        templates = (*relation.cloze[: CLOZES + 1], *relation.questions[:QUESTIONS])
        return [t.format(s=request.subject) for t in templates]

    def _neighbours(self, request: EditRequest, relation: Relation | None, rng: random.Random) -> list[Probe]:
        if request.kind is Kind.PERSONALITY:
            topics = self._others("topic", request, rng, NEIGHBOURS)
            return [probe(OPINION_QUESTIONS[0].format(topic=t), "neighbour") for t in topics]
        if relation is None:
            return []
        texts = []
        for i, name in enumerate(self._others(relation.domain, request, rng, NEIGHBOURS)):
            template = relation.cloze[0] if i % 2 else relation.questions[0]
            texts.append(template.format(s=name))
        return [probe(text, "neighbour") for text in texts]

    def _same_subject(self, request: EditRequest, relation: Relation | None, rng: random.Random) -> list[Probe]:
        if relation is None:
            return []
        other = [r for r in RELATIONS.values() if r.domain == relation.domain and r.name != relation.name]
        other = [r for r in other if not r.private]
        picked = rng.sample(other, min(SAME_SUBJECT, len(other)))
        return [probe(r.questions[0].format(s=request.subject), "same_subject") for r in picked]

    def _unrelated(self, request: EditRequest, relation: Relation | None, rng: random.Random) -> list[Probe]:
        domain, language = (relation.domain, relation.language) if relation else (None, "en")
        known = [r for r in RELATIONS.values() if r.domain in self.subjects and r.language == language]
        far = [r for r in known if r.domain != domain and not r.private]
        picked = rng.sample(far, min(UNRELATED, len(far)))
        return [
            probe(r.questions[0].format(s=name), "unrelated")
            for r in picked
            for name in self._others(r.domain, request, rng, 1)
        ]

    def _others(self, domain: str, request: EditRequest, rng: random.Random, n: int) -> list[str]:
        named = {request.subject.lower(), request.target_new.lower(), (request.target_old or "").lower()}
        names = [s for s in self.subjects.get(domain, ()) if s.lower() not in named]
        return rng.sample(names, min(n, len(names)))
