"""Chains of relations that mean nothing together: only by reading the question can it be taken apart.

Chains over the world's facts hold a few dozen pairs of relations, few enough to be learnt by heart. Here any relation
follows any other, and nouns nobody has heard of stand among them, so a sub-question has to be copied from the
question's own words. Every answer comes from the context.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ketools.atlas.corpus.document import Document, Part
from ketools.atlas.corpus.hops import NO_ENTITY, asked_next, named_entity, verdict
from ketools.atlas.corpus.noun import random_question, subject_kept_for_tests
from ketools.atlas.world import made_up, never_overridden, withheld_pair, world
from ketools.knowledge.relations import RELATIONS, Relation


@dataclass(frozen=True)
class Hop:
    """One step: who is asked about, by which relation, and the answer."""

    subject: str
    relation: Relation
    answer: str

    @property
    def question(self) -> str:
        """The sub-question."""
        return self.relation.questions[0].format(s=self.subject)

    def sentence(self, answer: str | None = None) -> str:
        """The answer, or another one, as a sentence."""
        return f"{self.relation.statement(self.subject, answer or self.answer)}."


def invented_relation(rng: random.Random) -> Relation:
    """A relation with a made-up noun."""
    noun = f"the {made_up(rng, rng.choice([1, 2, 2])).lower()} of {{s}}"
    start = f"T{noun[1:]} is"
    return Relation(noun[4:-7], "", "", noun, noun, (start,), (f"What is {noun}?",))


def draw_links(rng: random.Random, count: int) -> list[Relation]:
    """Relations in any order, never two whose succession is withheld."""
    known = [r for r in RELATIONS.values() if not r.private]
    odd = rng.choice([0.0, 0.0, 0.3, 1.0])
    links: list[Relation] = []
    while len(links) < count:
        link = invented_relation(rng) if rng.random() < odd else rng.choice(known)
        if not links or not withheld_pair(links[-1].name, link.name):
            links.append(link)
    return links


def any_name(rng: random.Random, kind: str) -> str:
    """A name of that kind, or of any other, or one that nobody has; none that must not be overridden."""
    pools = world().pools
    if rng.random() < 0.25:
        return made_up(rng)
    while True:
        name = rng.choice(pools[kind if kind in pools and rng.random() < 0.7 else rng.choice(sorted(pools))])
        if not never_overridden(name):
            return name


def draw_hops(rng: random.Random) -> list[Hop]:
    """A chain of one to four steps; what the world knows is answered as it knows it."""
    links = draw_links(rng, rng.choices([1, 2, 3, 4], [1, 4, 4, 3])[0])
    subject = any_name(rng, links[0].domain)
    while subject_kept_for_tests(subject):
        subject = any_name(rng, links[0].domain)
    hops: list[Hop] = []
    for link in links:
        own = world().facts.get((subject, link.name))
        answer = any_name(rng, link.range) if own is None or never_overridden(own) else own
        hops.append(Hop(subject, link, answer))
        subject = answer
    return hops


def distracting(rng: random.Random, hop: Hop) -> str:
    """A fact that is near the one asked for."""
    other = hop.relation if rng.random() < 0.5 else rng.choice([r for r in RELATIONS.values() if r != hop.relation])
    subject = hop.subject if other != hop.relation else any_name(rng, other.domain)
    return Hop(subject, other, any_name(rng, other.range)).sentence()


def mello_hop(rng: random.Random, hop: Hop) -> list[Part]:
    """A hop in MeLLo's grammar; the generated answer is given, for nobody could know it."""
    asked = (asked_next(hop.question), 1.0)
    known = (hop.subject, hop.relation.name) in world().facts
    if rng.random() < 0.5 and not known:
        guess = any_name(rng, hop.relation.range)
        retrieved, contradicts = hop.sentence(), guess != hop.answer
    else:
        guess, retrieved, contradicts = hop.answer, distracting(rng, hop), False
    given = f" {hop.sentence(guess)}\n"
    return [
        asked,
        (given, 0.0),
        ("Retrieved fact:", 1.0),
        (f" {retrieved}\n", 0.0),
        (verdict(contradicts, hop.answer), 1.0),
    ]


def pokemqa_hop(hop: Hop) -> list[Part]:
    """A hop in PokeMQA's grammar, its answer given."""
    return [(asked_next(hop.question), 1.0), (f" {hop.sentence()}\n", 0.0), (named_entity(hop.answer), 0.7)]


def invented_chain(rng: random.Random) -> Document:
    """A question over such a chain, taken apart in one of the three grammars."""
    hops = draw_hops(rng)
    head = f"Question: {random_question(rng, hops[0].subject, [hop.relation for hop in hops])}\n"
    end: Part = (f"Final answer: {hops[-1].answer}</s>", 1.0)
    draw = rng.random()
    if draw < 0.44:
        return Document([(head, 0.0), *(part for hop in hops for part in mello_hop(rng, hop)), end])
    if draw < 0.88:
        return Document([(head + NO_ENTITY, 0.0), *(part for hop in hops for part in pokemqa_hop(hop)), end])
    steps = [hops[0].subject, *(f"#{i}" for i in range(1, len(hops)))]
    plan = " | ".join(hop.relation.questions[0].format(s=step) for hop, step in zip(hops, steps, strict=True))
    return Document([(f"{head}Decomposition:", 0.0), (f" {plan}</s>", 1.0)])
