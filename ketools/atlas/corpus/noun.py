"""Nested noun phrases and the chains of relations behind them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache

from ketools.atlas.corpus.document import random_fact, who_or_what
from ketools.atlas.world import Key, pairs, withheld_pair, world
from ketools.core.text import digest
from ketools.knowledge.relations import RELATIONS, Relation

WRAPPERS = (
    "{W} {n}?",
    "{W} {n}?",
    "Tell me {n}.",
    "Name {n}.",
    "Can you tell me {n}?",
    "I want to know {n}.",
    "{N} is called what?",
    "Give me {n}.",
)


def resolved(link: str | Relation) -> Relation:
    """A link of a chain: a relation of the world by its name, or any other relation as it is."""
    return RELATIONS[link] if isinstance(link, str) else link


def phrase(subject: str, chain: Sequence[str | Relation], forms: Sequence[int]) -> str:
    """The noun phrase that leads from the subject along the chain; a form is 0 (noun) or 1 (clause)."""
    text = subject
    for link, form in zip(chain, forms, strict=True):
        relation = resolved(link)
        text = (relation.clause if form else relation.noun).format(s=text)
    return text


def chain_question(subject: str, chain: Sequence[str | Relation], forms: Sequence[int], wrapper: int) -> str:
    """A question for the end of the chain; wrappers past the list use the last relation's own questions."""
    last = resolved(chain[-1])
    if wrapper >= len(WRAPPERS):
        inner = phrase(subject, chain[:-1], forms[:-1])
        text = last.questions[(wrapper - len(WRAPPERS)) % len(last.questions)].format(s=inner)
        return text[0].upper() + text[1:]
    noun = phrase(subject, chain, forms)
    return WRAPPERS[wrapper].format(W=who_or_what(last), n=noun, N=noun[0].upper() + noun[1:])


def random_question(rng: random.Random, subject: str, chain: Sequence[str | Relation]) -> str:
    """A question for the end of the chain in some phrasing."""
    forms = [int(rng.random() < 0.35) for _ in chain]
    wrapper = rng.randrange(len(WRAPPERS) + 5)
    return chain_question(subject, chain, forms, wrapper)


def follow(subject: str, chain: Sequence[str], edits: Mapping[Key, str]) -> list[str] | None:
    """The answer of every hop, with edits in force; None where the world holds no answer."""
    answers: list[str] = []
    for name in chain:
        key = (subject, name)
        answer = edits.get(key) or world().facts.get(key)
        if answer is None:
            return None
        answers.append(answer)
        subject = answer
    return answers


@cache
def next_relations(name: str, withheld: bool = False) -> tuple[str, ...]:
    """The relations that may follow this one in training, or only in tests."""
    return tuple(b for a, b in pairs() if a == name and withheld_pair(a, b) == withheld)


def subject_kept_for_tests(subject: str) -> bool:
    """Whether no training chain starts from this subject."""
    return digest("chain", subject) % 8 == 0


def two_hop_withheld(first: str, second: str, subject: str) -> bool:
    """Whether this two-hop question is kept for tests."""
    return withheld_pair(first, second) or digest("two hops", first, second, subject) % 6 == 0


def two_hop_question(rng: random.Random, key: Key, notes: Mapping[Key, str]) -> tuple[str, str] | None:
    """A question two hops long that starts with this key, and its answer."""
    choices = [b for b in next_relations(key[1]) if not two_hop_withheld(key[1], b, key[0])]
    if not choices:
        return None
    chain = (key[1], rng.choice(choices))
    answers = follow(key[0], chain, notes)
    if answers is None:
        return None
    return random_question(rng, key[0], chain), answers[-1]


def stored_two_hop(rng: random.Random) -> tuple[str, str]:
    """A two-hop question over stored facts, and its answer."""
    while True:
        made = two_hop_question(rng, random_fact(rng).key, {})
        if made:
            return made
