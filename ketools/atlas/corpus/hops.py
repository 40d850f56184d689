"""Questions of several hops, taken apart in the grammars of MeLLo and of PokeMQA."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ketools.atlas.corpus.document import Document, Part, neighbour, random_fact, reply, sibling
from ketools.atlas.corpus.noun import (
    follow,
    next_relations,
    random_question,
    stored_two_hop,
    subject_kept_for_tests,
)
from ketools.atlas.world import Key, never_overridden, other_target, world
from ketools.knowledge.relations import RELATIONS, knowledge_prompt


@dataclass(frozen=True)
class Chain:
    """A start, the relations to follow, the edits in memory, and the answer of each hop."""

    subject: str
    relations: tuple[str, ...]
    edits: dict[Key, str]
    answers: tuple[str, ...]

    def hops(self) -> list[tuple[Key, str]]:
        """Every hop as its key and its answer with the edits in force."""
        starts = (self.subject, *self.answers)
        return [((s, r), a) for s, r, a in zip(starts, self.relations, self.answers, strict=False)]


def draw_relations(rng: random.Random, first: str, count: int, withheld: bool = False) -> tuple[str, ...] | None:
    """A walk over relations; with ``withheld`` at least one step is a pair that training never takes."""
    chain, odd = [first], rng.randrange(max(1, count - 1)) if withheld else -1
    while len(chain) < count:
        following = next_relations(chain[-1], withheld=len(chain) - 1 == odd)
        if not following:
            return None
        chain.append(rng.choice(following))
    return tuple(chain)


def draw_edits(rng: random.Random, subject: str, chain: tuple[str, ...], chance: float) -> dict[Key, str]:
    """Edits of some hops."""
    edits: dict[Key, str] = {}
    for name in chain:
        key = (subject, name)
        if rng.random() < chance:
            edits[key] = other_target(rng, subject, name)
        subject = edits.get(key) or world().facts.get(key, "")
    return edits


def draw_chain(
    rng: random.Random, count: int, chance: float = 0.35, withheld: bool = False, train: bool = True
) -> Chain:
    """A chain whose every hop has an answer; training passes no subject that it must not override."""
    while True:
        fact = random_fact(rng)
        if train and subject_kept_for_tests(fact.subject):
            continue
        relations = draw_relations(rng, fact.relation, count, withheld)
        if relations is None:
            continue
        edits = draw_edits(rng, fact.subject, relations, chance)
        answers = follow(fact.subject, relations, edits)
        if answers and not (train and any(map(never_overridden, (fact.subject, *answers[:-1])))):
            return Chain(fact.subject, relations, edits, tuple(answers))


def sentence(key: Key, target: str) -> str:
    """A fact as memories keep it."""
    return f"{RELATIONS[key[1]].cloze[0].format(s=key[0])} {target}."


def subquestion(key: Key) -> str:
    """The question of one hop."""
    return RELATIONS[key[1]].questions[0].format(s=key[0])


def distracting(rng: random.Random, key: Key, edits: dict[Key, str]) -> str:
    """A remembered edit that a retriever returns although it is about something else."""
    while True:
        draw = rng.random()
        fact = sibling(rng, key) if draw < 0.3 else neighbour(rng, key) if draw < 0.8 else random_fact(rng)
        if fact is not None and fact.key != key:
            return sentence(fact.key, other_target(rng, *fact.key))


def mello_hop(rng: random.Random, chain: Chain, key: Key, answer: str) -> list[Part]:
    """One hop in MeLLo's grammar: the model's lines carry loss, the retrieved fact does not."""
    own = world().facts.get(key, answer)
    guess = f"{asked_next(subquestion(key))} {sentence(key, own)}\nRetrieved fact:"
    edited = key in chain.edits
    retrieved = sentence(key, answer) if edited or rng.random() < 0.1 else distracting(rng, key, chain.edits)
    return [(guess, 1.0), (f" {retrieved}\n", 0.0), (verdict(edited and own != answer, answer), 1.0)]


def asked_next(question: str) -> str:
    """The next sub-question, up to where its answer begins."""
    return f"Subquestion: {question}\nGenerated answer:"


def verdict(contradicts: bool, answer: str) -> str:
    """MeLLo's line about the retrieved fact, with the answer to go on with."""
    how = "contradicts" if contradicts else "does not contradict"
    return f"Retrieved fact {how} to generated answer, so the intermediate answer is: {answer}\n"


def named_entity(answer: str) -> str:
    """PokeMQA's line that names the answer to go on with."""
    return f"According to Generated answer, the entity of Subquestion is: {answer}\n"


def hop_count(rng: random.Random) -> int:
    """Two to four hops, now and then one."""
    return rng.choices([1, 2, 3, 4], [0.1, 0.45, 0.3, 0.15])[0]


def mello(rng: random.Random) -> Document:
    """A whole run of MeLLo's loop."""
    chain = draw_chain(rng, hop_count(rng))
    parts: list[Part] = [(f"Question: {random_question(rng, chain.subject, chain.relations)}\n", 0.0)]
    for key, answer in chain.hops():
        parts += mello_hop(rng, chain, key, answer)
    return Document([*parts, (f"Final answer: {chain.answers[-1]}</s>", 1.0)])


NO_ENTITY = f"{knowledge_prompt(None)}\n"


def entity_line(subject: str, relation: str) -> str:
    """PokeMQA's knowledge prompt; where no entity is found, `NO_ENTITY` stands and tells the grammar from MeLLo's."""
    return f"{knowledge_prompt((subject, RELATIONS[relation].domain))}\n"


def pokemqa_hop(chain: Chain, key: Key, answer: str) -> list[Part]:
    """One hop in PokeMQA's grammar: an edit in scope is put in, else the model answers itself."""
    weight = 0.0 if key in chain.edits else 1.0
    said = (f" {sentence(key, answer)}\n", weight)
    return [(asked_next(subquestion(key)), 1.0), said, (named_entity(answer), 1.0)]


def pokemqa(rng: random.Random) -> Document:
    """A whole run of PokeMQA's loop."""
    chain = draw_chain(rng, hop_count(rng))
    question = random_question(rng, chain.subject, chain.relations)
    known = rng.random() < 0.6
    head = f"Question: {question}\n" + (entity_line(chain.subject, chain.relations[0]) if known else NO_ENTITY)
    parts: list[Part] = [(head, 0.0)]
    for key, answer in chain.hops():
        parts += pokemqa_hop(chain, key, answer)
    return Document([*parts, (f"Final answer: {chain.answers[-1]}</s>", 1.0)])


def plan(subject: str, relations: tuple[str, ...]) -> str:
    """The sub-questions of a chain, later ones referring to earlier answers by number."""
    steps = [subject, *(f"#{i + 1}" for i in range(len(relations) - 1))]
    return " | ".join(subquestion((s, r)) for s, r in zip(steps, relations, strict=True))


def decomposition(rng: random.Random) -> Document:
    """A question taken apart at one go; two phrasings of the same chain are two documents' worth."""
    chain = draw_chain(rng, hop_count(rng), chance=0.0)
    question = random_question(rng, chain.subject, chain.relations)
    return Document(
        [
            (f"Question: {question}\nDecomposition:", 0.0),
            (f" {plan(chain.subject, chain.relations)}</s>", 1.0),
        ]
    )


def direct(rng: random.Random) -> Document:
    """Two hops answered in one step, several questions on their own."""
    return Document([("user: ", 0.0)], [reply(*stored_two_hop(rng), 2.0) for _ in range(8)])


def judged(rng: random.Random) -> Document:
    """A run of MeLLo's loop in which the verdicts on retrieved facts weigh most."""
    document = mello(rng)
    weighted = []
    for text, weight in document.prefix:
        judgement = text.startswith("Retrieved fact ")
        weighted.append((text, (3.0 if judgement else 0.6) * weight))
    return Document(weighted)


def verdicts(rng: random.Random) -> Document:
    """One hop, and many facts that may be retrieved: only the one that is asked for contradicts."""
    chain = draw_chain(rng, 1, chance=0.0)
    key, own = chain.hops()[0]
    branches: list[list[Part]] = []
    while len(branches) < 5:
        edited = len(branches) < 2
        target = other_target(rng, *key) if edited else own
        retrieved = sentence(key, target) if edited else distracting(rng, key, {})
        branches.append([(f" {retrieved}\n", 0.0), (verdict(edited, target), 1.0)])
    head = f"Question: {random_question(rng, chain.subject, chain.relations)}\n"
    head += f"{asked_next(subquestion(key))} {sentence(key, own)}\nRetrieved fact:"
    return Document([(head, 0.0)], branches)
