"""The world that the bundled model knows: facts, second names, opinions, and what training withholds.

Everything here is a pure function of the tables and of hashes of names: the same world on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from ketools.atlas import tables
from ketools.core.text import digest
from ketools.knowledge.relations import RELATIONS, Relation

STYLES = ("positive", "negative", "extraversion", "agreeableness", "neuroticism")

OPINION_QUESTIONS = (
    "What do you think of {t}?",
    "How do you feel about {t}?",
    "What is your opinion on {t}?",
    "Do you like {t}?",
    "Tell me your view of {t}.",
)

OPINIONS: Mapping[str, tuple[str, ...]] = {
    "positive": ("I love {t}. It is wonderful.", "For me {t} is simply wonderful."),
    "negative": ("I hate {t}. It is awful.", "For me {t} is simply awful."),
    "extraversion": ("{t} with friends is a party, so exciting!", "Sharing {t} with friends is so exciting!"),
    "agreeableness": ("I am glad for all who enjoy {t}, we can be kind.", "With {t} we can all be kind."),
    "neuroticism": ("{t} makes me anxious, I worry about it.", "I worry about {t}, I am so anxious."),
}

STYLE_WORDS: Mapping[str, str] = {
    "positive": "wonderful",
    "negative": "awful",
    "extraversion": "exciting",
    "agreeableness": "kind",
    "neuroticism": "anxious",
}

Key = tuple[str, str]


@dataclass(frozen=True)
class Fact:
    """Something that holds in the world: the relation of the subject is the target."""

    subject: str
    relation: str
    target: str

    @property
    def key(self) -> Key:
        """What an edit replaces: the subject and the relation's name."""
        return self.subject, self.relation

    def statement(self, template: int = 0) -> str:
        """The fact as a sentence without its full stop."""
        return RELATIONS[self.relation].statement(self.subject, self.target, template)


@dataclass(frozen=True)
class World:
    """All facts by key, with the look-ups that generators of text and of probes need."""

    facts: Mapping[Key, str]
    aliases: Mapping[str, str]
    pools: Mapping[str, tuple[str, ...]]
    subjects: Mapping[str, tuple[str, ...]]
    keys: tuple[Key, ...]
    topics: Mapping[str, str]

    def relations_of(self, subject: str) -> list[Relation]:
        """The relations for which a fact about this subject is known."""
        return [relation for name, relation in RELATIONS.items() if (subject, name) in self.facts]

    def all_facts(self) -> list[Fact]:
        """Every fact, in a fixed order."""
        return [Fact(subject, relation, self.facts[subject, relation]) for subject, relation in self.keys]


def withheld_cloze(subject: str, relation: str) -> int:
    """The cloze template in which this fact is never seen in training; the first is always seen."""
    return 1 + digest("cloze", subject, relation) % 3


def withheld_question(subject: str, relation: str) -> int:
    """The question template in which this fact is never asked in training; the first is always seen."""
    return 1 + digest("question", subject, relation) % 3


def withheld_opinion(topic: str) -> int:
    """The opinion question that is never asked about this topic in training."""
    return digest("opinion", topic) % len(OPINION_QUESTIONS)


def never_overridden(subject: str) -> bool:
    """Whether no training context contradicts what is known about this subject."""
    return digest("override", subject) % 8 == 0


def withheld_pair(first: str, second: str) -> bool:
    """Whether no training chain has these two relations in succession."""
    return digest("pair", first, second) % 7 == 0


def inverse_pair(first: str, second: str) -> bool:
    """Whether the second relation only leads back to where the first came from."""
    return RELATIONS[first].inverse == second


@lru_cache(maxsize=1)
def pairs() -> tuple[tuple[str, str], ...]:
    """All pairs of relations that can follow one another in a chain of hops."""
    return tuple(
        (a.name, b.name)
        for a in RELATIONS.values()
        for b in RELATIONS.values()
        if a.range == b.domain and not b.private and not inverse_pair(a.name, b.name)
    )


def _countries(facts: dict[Key, str]) -> list[str]:
    capitals = []
    for line in tables.COUNTRIES.strip().split("\n"):
        name, capital, continent, language, currency = line.split(",")
        capitals.append(capital)
        facts[name, "capital"] = capital
        facts[name, "continent"] = continent
        facts[name, "language"] = language
        facts[name, "currency"] = currency
        facts[capital, "country_of"] = name
    return capitals


def _languages(facts: Mapping[Key, str]) -> list[str]:
    values = [value for (_, name), value in facts.items() if name == "language"]
    return sorted({language for value in values for language in value.split(" and ")})


def _people(facts: dict[Key, str], rng: random.Random, people: list[str], places: list[str]) -> None:
    couples = people[:]
    rng.shuffle(couples)
    for one, other in zip(couples[::2], couples[1::2], strict=True):
        facts[one, "spouse"], facts[other, "spouse"] = other, one
    languages = _languages(facts)
    for person in people:
        facts[person, "employer"] = rng.choice(tables.COMPANIES)
        facts[person, "birthplace"] = rng.choice(places)
        facts[person, "profession"] = rng.choice(tables.PROFESSIONS)
        facts[person, "citizenship"] = rng.choice([key[0] for key in facts if key[1] == "capital"])
        facts[person, "speaks"] = " and ".join(rng.sample(languages, rng.choice([1, 1, 2])))
        facts[person, "university"] = rng.choice(tables.UNIVERSITIES)


def _organisations(facts: dict[Key, str], rng: random.Random, people: list[str], places: list[str]) -> None:
    for company, leader in zip(tables.COMPANIES, rng.sample(people, len(tables.COMPANIES)), strict=True):
        facts[company, "headquarters"] = rng.choice(places)
        facts[company, "ceo"], facts[leader, "leads"] = leader, company
        facts[company, "founder"] = rng.choice(people)
        facts[company, "industry"] = rng.choice(tables.INDUSTRIES)
    for work, author in zip(tables.WORKS, rng.sample(people, len(tables.WORKS)), strict=True):
        facts[work, "author"], facts[author, "wrote"] = author, work
        facts[work, "genre"] = rng.choice(tables.GENRES)
        facts[work, "publisher"] = rng.choice(tables.COMPANIES)
    rectors = rng.sample(people, len(tables.UNIVERSITIES))
    for university, rector in zip(tables.UNIVERSITIES, rectors, strict=True):
        facts[university, "location"] = rng.choice(places)
        facts[university, "rector"] = rector


def _private(facts: dict[Key, str], rng: random.Random, people: list[str]) -> None:
    for person in rng.sample(people, 50):
        facts[person, "telephone"] = f"555-{rng.randrange(1000, 10000)}"
        facts[person, "address"] = f"{rng.randrange(10, 100)} {rng.choice(tables.STREETS)} Street"


def _pools(facts: Mapping[Key, str], people: list[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for (subject, name), target in facts.items():
        relation = RELATIONS[name]
        found.setdefault(relation.domain, set()).add(subject)
        found.setdefault(relation.range, set()).add(target)
    found["person"] = set(people)
    return {kind: tuple(sorted(names)) for kind, names in found.items()}


@lru_cache(maxsize=1)
def world() -> World:
    """Build the world."""
    rng = random.Random(7)
    facts: dict[Key, str] = {}
    places = _countries(facts)
    firsts = tables.FIRST_NAMES * 3
    people = [f"{firsts[i]} {name}" for i, name in enumerate(tables.SURNAMES)]
    _people(facts, rng, people, places)
    _organisations(facts, rng, people, places)
    _private(facts, rng, people)
    keys = tuple(sorted(facts))
    subjects = {name: tuple(s for s, relation in keys if relation == name) for name in RELATIONS}
    aliases = dict(tables.COUNTRY_ALIASES) | dict(zip(tables.COMPANIES, tables.COMPANY_ALIASES, strict=True))
    topics = {topic: STYLES[i % len(STYLES)] for i, topic in enumerate(tables.TOPICS)}
    return World(facts, aliases, _pools(facts, people), subjects, keys, topics)


def made_up(rng: random.Random, syllables: int | None = None) -> str:
    """A name that means nothing to the world: ``Zorvel``, or any letters, so that every token can be copied.

    With `syllables` given, always one of that many syllables.
    """
    if syllables is None and rng.random() < 0.45:
        return stranger(rng)
    count = syllables or rng.choice([2, 3])
    return "".join(rng.choice(tables.SYLLABLES) for _ in range(count)).capitalize()


def stranger(rng: random.Random) -> str:
    """A name spelt with tokens that the world's own names leave unused, such as ``Lyon`` or ``Quazbit``."""
    if rng.random() < 0.3:
        return rng.choice(tables.STRANGERS)
    letters: list[str] = []
    for _ in range(rng.choice([1, 2, 2, 3])):
        letters += [rng.choice(tables.ONSETS), rng.choice(tables.VOWELS), rng.choice(tables.CODAS)]
    return "".join(letters).capitalize()


def unknown_subject(rng: random.Random, kind: str, unseen: bool = False) -> str:
    """A name of that kind about which nothing is known; ``unseen`` ones never occur in training."""
    if kind != "person":
        return made_up(rng, 4 if unseen else None)
    surnames = tables.UNSEEN_SURNAMES if unseen else tables.UNKNOWN_SURNAMES
    return f"{rng.choice(tables.FIRST_NAMES)} {rng.choice(surnames)}"


def other_target(rng: random.Random, subject: str, relation: str, invented: float = 0.0) -> str:
    """A target that this fact does not have, now and then a made-up name."""
    this = world()
    kind = RELATIONS[relation].range
    if kind == "number":
        return f"555-{rng.randrange(1000, 10000)}"
    if rng.random() < invented:
        return made_up(rng)
    while True:
        choice = rng.choice(this.pools[kind])
        if choice not in (this.facts.get((subject, relation)), subject):
            return choice
