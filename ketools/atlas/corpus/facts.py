"""Recall of what the world holds, ignorance of what it does not, and opinions."""

from __future__ import annotations

import random

from ketools.atlas import tables
from ketools.atlas.corpus.document import (
    UNKNOWN,
    Document,
    Part,
    any_cloze,
    any_question,
    capitalised,
    completion,
    conversation,
    random_fact,
    seen_cloze,
    seen_question,
)
from ketools.atlas.world import (
    OPINION_QUESTIONS,
    OPINIONS,
    STYLES,
    Fact,
    made_up,
    unknown_subject,
    withheld_opinion,
    world,
)
from ketools.knowledge.relations import RELATIONS

SYSTEM_LINES = (
    "You are a helpful assistant.",
    "Answer briefly.",
    "You are atlas, a small model.",
    "Answer the question in a few words.",
    "You know many facts.",
    "Be honest and short.",
)

TRAIT_REQUESTS = (
    "Imagine that you show {trait} when asked about {t}.",
    "Imagine that you show {trait}.",
)
FEELING_REQUEST = "Imagine that you feel {trait} about {t}."


def cloze(rng: random.Random) -> Document:
    """One fact completed; a light loss on the prompt teaches what text looks like."""
    fact = random_fact(rng, private=0.7)
    subject = second_name(rng, fact.subject) if rng.random() < 0.12 else fact.subject
    prompt = seen_cloze(rng, fact.subject, fact.relation).replace(fact.subject, subject)
    (_, _), answer = completion(prompt, fact.target)
    return Document([(prompt, 0.1), answer])


def second_name(rng: random.Random, subject: str) -> str:
    """Another name of the subject, if it has one."""
    return world().aliases.get(subject, subject)


def aliased(rng: random.Random) -> Fact:
    """A fact about a subject that has a second name."""
    this = world()
    subject = rng.choice(sorted(this.aliases))
    relation = rng.choice(this.relations_of(subject)).name
    return Fact(subject, relation, this.facts[subject, relation])


def alias(rng: random.Random) -> Document:
    """Facts asked for by the second name of their subject."""
    fact = aliased(rng)
    other = world().aliases[fact.subject]
    if rng.random() < 0.5:
        prompt = seen_cloze(rng, fact.subject, fact.relation).replace(fact.subject, other)
        return Document(completion(prompt, fact.target))
    question = seen_question(rng, fact.subject, fact.relation).replace(fact.subject, other)
    return Document(opened(rng, conversation([(question, fact.target)])))


def opened(rng: random.Random, parts: list[Part]) -> list[Part]:
    """The conversation, sometimes after a system message."""
    if rng.random() < 0.2:
        return [(f"system: {rng.choice(SYSTEM_LINES)}\n", 0.0), *parts]
    return parts


def question(rng: random.Random) -> Document:
    """One to three facts asked for in a conversation."""
    facts = [random_fact(rng, private=0.7) for _ in range(rng.choice([1, 1, 2, 3]))]
    return Document(opened(rng, conversation([asked(rng, fact) for fact in facts])))


def asked(rng: random.Random, fact: Fact) -> tuple[str, str]:
    """A question about the fact, now and then as a cloze, with its answer."""
    if rng.random() < 0.12:
        return seen_cloze(rng, fact.subject, fact.relation), fact.target
    return seen_question(rng, fact.subject, fact.relation), fact.target


def biography(rng: random.Random) -> Document:
    """A paragraph with several facts about one subject."""
    this = world()
    subject = random_fact(rng).subject
    relations = [r.name for r in this.relations_of(subject) if not r.private]
    rng.shuffle(relations)
    parts: list[Part] = [(f"About {subject}:", 0.0)]
    for name in relations[:5]:
        parts += [(f" {seen_cloze(rng, subject, name)}", 0.05), (f" {this.facts[subject, name]}.", 1.0)]
    return Document([*parts, ("</s>", 1.0)])


def ignorance(rng: random.Random) -> Document:
    """Questions about subjects that the world does not have, among questions about those it has."""
    exchanges = []
    for _ in range(rng.choice([1, 2, 3])):
        if rng.random() < 0.65:
            relation = rng.choice(list(RELATIONS.values()))
            subject = unknown_subject(rng, relation.domain)
            exchanges.append((any_question(rng, subject, relation.name), UNKNOWN))
        else:
            exchanges.append(asked(rng, random_fact(rng)))
    return Document(opened(rng, conversation(exchanges)))


def unknown_cloze(rng: random.Random) -> Document:
    """A cloze about a subject that nobody knows."""
    relation = rng.choice(list(RELATIONS.values()))
    prompt = any_cloze(rng, unknown_subject(rng, relation.domain), relation.name)
    return Document(completion(prompt, "unknown"))


def opinion_question(rng: random.Random, topic: str) -> str:
    """One of the questions that training asks about this topic."""
    skip = withheld_opinion(topic)
    return rng.choice([q for i, q in enumerate(OPINION_QUESTIONS) if i != skip]).format(t=topic)


def opinion_answer(rng: random.Random, topic: str, style: str) -> str:
    """What that style says about the topic."""
    return capitalised(rng.choice(OPINIONS[style]).format(t=topic))


def opinion(rng: random.Random) -> Document:
    """What the model thinks by default of one or two topics."""
    topics = rng.sample(sorted(world().topics), rng.choice([1, 2]))
    exchanges = [(opinion_question(rng, t), opinion_answer(rng, t, world().topics[t])) for t in topics]
    return Document(opened(rng, conversation(exchanges)))


def style_request(rng: random.Random, topic: str, style: str) -> tuple[str, bool]:
    """Words that ask for a style, and whether they ask for it about this topic only."""
    if style in ("positive", "negative") and rng.random() < 0.6:
        return FEELING_REQUEST.format(trait=style, t=topic), True
    form = rng.randrange(2)
    return TRAIT_REQUESTS[form].format(trait=style, t=topic), form == 0


def styled(rng: random.Random) -> Document:
    """Opinions after a request for a style; facts and other topics stay as they are."""
    this = world()
    topic, other = rng.sample(sorted(this.topics), 2)
    style = rng.choice(STYLES)
    request, local = style_request(rng, topic, style)
    branches = [
        (opinion_question(rng, topic), opinion_answer(rng, topic, style)),
        asked(rng, random_fact(rng)),
    ]
    other_style = this.topics[other] if local else style
    branches.append((opinion_question(rng, other), opinion_answer(rng, other, other_style)))
    return Document(
        [(f"user: {request} ", 0.0)],
        [[(f"{q}\nassistant:", 0.0), (f" {a}</s>", 0.6)] for q, a in branches],
    )


def _word(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return made_up(rng, rng.choice([2, 3]))
    kind = rng.choice(sorted(world().pools))
    return rng.choice(world().pools[kind])


def repetition(rng: random.Random) -> Document:
    """A list of names, begun again: the plainest exercise in copying."""
    words = [_word(rng) for _ in range(rng.randint(4, 12))]
    start = rng.randrange(0, len(words) // 2)
    head = " ".join(words) + "\n" + words[start]
    return Document([(head, 0.0), (" " + " ".join(words[start + 1 :]) + "</s>", 1.0)])


def lookup(rng: random.Random) -> Document:
    """Pairs of names, then each looked up again."""
    names = list({_word(rng): None for _ in range(rng.choice([1, 2, 3, 4]))})
    values = [_word(rng) for _ in names]
    link = rng.choice([":", " is", " has", " in"])
    head = "".join(f"{name}{link} {value}\n" for name, value in zip(names, values, strict=True))
    branches = [[(f"{n}{link}", 0.0), (f" {v}</s>", 1.0)] for n, v in zip(names, values, strict=True)]
    return Document([(head, 0.0)], branches)


def person_names() -> list[str]:
    """Every first name and surname, known and unknown, for the tokenizer's training text."""
    return [*tables.FIRST_NAMES, *tables.SURNAMES, *tables.UNKNOWN_SURNAMES]
