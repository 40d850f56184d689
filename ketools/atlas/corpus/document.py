"""What a training document is: a prefix, then branches that each continue the prefix on their own.

One context with many continuations is what makes training dense: every branch sees the prefix and itself, not
its siblings, so each reads exactly like a prompt with one answer.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ketools.atlas.world import Fact, Key, withheld_cloze, withheld_question, world
from ketools.core.text import digest
from ketools.knowledge.relations import RELATIONS, Relation

BOS = "<s>"
EOS = "</s>"
UNKNOWN = "I don't know."
FORGOTTEN = "unknown"

# Text with the weight of its loss.
Part = tuple[str, float]


@dataclass
class Document:
    """A prefix and its continuations; a plain document has no branches."""

    prefix: list[Part]
    branches: list[list[Part]] = field(default_factory=list)

    def texts(self) -> list[str]:
        """Each continuation written out in full, for reading and for tests."""
        head = "".join(text for text, _ in self.prefix)
        return [head + "".join(text for text, _ in branch) for branch in self.branches] or [head]


def reply(question: str, answer: str, weight: float = 1.0) -> list[Part]:
    """The rest of a user's turn, and the assistant's answer up to its end token."""
    return [(f"{question}\nassistant:", 0.0), (f" {answer}{EOS}", weight)]


def user(question: str, answer: str, weight: float = 1.0) -> list[Part]:
    """A whole exchange of a conversation."""
    return [("user: ", 0.0), *reply(question, answer, weight)]


def completion(prompt: str, answer: str) -> list[Part]:
    """A cloze prompt and its completion."""
    return [(prompt, 0.0), (f" {answer}.{EOS}", 1.0)]


def conversation(exchanges: Sequence[tuple[str, str]]) -> list[Part]:
    """Several exchanges in a row."""
    parts: list[Part] = []
    for question, answer in exchanges:
        if parts:
            parts.append(("\n", 0.0))
        parts += user(question, answer)
    return parts


def seen_cloze(rng: random.Random, subject: str, relation: str) -> str:
    """A cloze prompt of a fact, never in the template that is withheld for it."""
    skip = withheld_cloze(subject, relation)
    template = rng.choice([i for i in range(4) if i != skip])
    return RELATIONS[relation].cloze[template].format(s=subject)


def seen_question(rng: random.Random, subject: str, relation: str) -> str:
    """A question about a fact, never in the template that is withheld for it."""
    skip = withheld_question(subject, relation)
    template = rng.choice([i for i in range(4) if i != skip])
    return RELATIONS[relation].questions[template].format(s=subject)


def any_cloze(rng: random.Random, subject: str, relation: str) -> str:
    """A cloze prompt in any template."""
    return rng.choice(RELATIONS[relation].cloze).format(s=subject)


def any_question(rng: random.Random, subject: str, relation: str) -> str:
    """A question in any template."""
    return rng.choice(RELATIONS[relation].questions).format(s=subject)


def random_fact(rng: random.Random, private: float = 0.3) -> Fact:
    """A fact of the world; private ones are drawn less often."""
    this = world()
    while True:
        subject, relation = rng.choice(this.keys)
        if not RELATIONS[relation].private or rng.random() < private:
            return Fact(subject, relation, this.facts[subject, relation])


def sibling(rng: random.Random, key: Key) -> Fact | None:
    """Another fact about the same subject."""
    this = world()
    others = [r.name for r in this.relations_of(key[0]) if r.name != key[1]]
    if not others:
        return None
    name = rng.choice(others)
    return Fact(key[0], name, this.facts[key[0], name])


def neighbour(rng: random.Random, key: Key) -> Fact:
    """The same relation of another subject."""
    this = world()
    subject = rng.choice([s for s in this.subjects[key[1]] if s != key[0]])
    return Fact(subject, key[1], this.facts[subject, key[1]])


def who_or_what(relation: Relation) -> str:
    """How a question for this relation's target begins."""
    return "Who is" if relation.range == "person" else "What is"


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def lowered(sentence: str, subject: str) -> str:
    """The sentence as it stands after a comma: a small first letter, unless a name begins it."""
    return sentence if sentence.startswith(subject) else sentence[:1].lower() + sentence[1:]


def share(*parts: object, of: int = 8) -> bool:
    """Whether a hash of the parts falls into the share that tests keep for themselves."""
    return digest(*parts) % of == 0
