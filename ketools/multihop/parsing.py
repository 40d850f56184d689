"""From a question to chains of relations: by the templates of its noun phrases, or by similarity.

Both give chains that are type-checked: what one relation leads to is what the next one starts from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

import numpy as np

from ketools.knowledge.relations import RELATIONS, Relation
from ketools.notes.scope import SLOT, blank, noun_phrases
from ketools.retrieval import Encoder

PLACE = "#"
"""Stands for the entity of a step, as `#1` does in a written decomposition."""

MOST_RELATIONS = 4
MOST_COMPARED = 3
"""The longest chains that similarity looks for: longer ones are too many and too alike."""

LEAST_SIMILARITY = 0.72

_TOLD_NOUN = re.compile(r"The (.*\{s\}.*?) (?:is|are|was|were)(?: in| the| called)?", re.IGNORECASE)

_ASKING = frozenset({"who", "whose", "what", "which", "where", "when", "how", "name", "tell", "in", "on", "from", "to"})

_WRAPPERS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:who|what|which|where) (?:is|are|was|were) (.+)",
        r"(?:please )?(?:can you |could you )?(?:tell me|name|give me|say) (?:who |what )?(.+?)(?: is| are)?",
        r"(?:i want to know|i would like to know|do you know) (?:who |what )?(.+?)(?: is| are)?",
        r"(.+) is called what",
        r"(.+) (?:is|are)",
    )
)


@dataclass(frozen=True)
class Chain:
    """An entity and the relations to follow from it, all of them of `ketools.knowledge.relations`."""

    entity: str
    relations: tuple[Relation, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """The sub-question of each step, `#1` for the answer of the first."""
        places = (self.entity, *(f"{PLACE}{i + 1}" for i in range(len(self.relations) - 1)))
        return tuple(r.questions[0].format(s=place) for r, place in zip(self.relations, places, strict=True))


def type_checked(relations: Sequence[Relation | None]) -> bool:
    """Whether every known relation starts from what the known one before it leads to."""
    return all(
        a is None or b is None or not a.range or not b.domain or a.range == b.domain for a, b in pairwise(relations)
    )


def told_relation(masked: str, questions: Sequence[str] = ()) -> Relation | None:
    """A relation of no known type that an edit's own words tell, with `SLOT` for its subject; None without a phrase.

    "The twin town of {s} is" names the noun phrase "the twin town of {s}", which a question may hold.
    """
    match = _TOLD_NOUN.fullmatch(masked.strip())
    noun = f"the {match[1]}" if match and match[1].count(SLOT) == 1 else ""
    asked = (*([f"What is {noun}?"] if noun else []), *(q for q in questions if q.count(SLOT) == 1))
    if not asked:
        return None
    return Relation(masked, domain="", range="", noun=noun, clause=noun, cloze=(), questions=asked)


def parse(question: str, told: tuple[Relation, ...] = ()) -> list[Chain]:
    """The chains that the question spells in templates, the likeliest first; `told`: relations beside the known."""
    found = dict.fromkeys(_sentence(" ".join(question.split()).rstrip(" ?.!"), told))
    chains = [Chain(entity, relations) for entity, relations in found if type_checked(relations)]
    return sorted(chains, key=lambda chain: (len(chain.entity), -len(chain.relations)))


Reading = tuple[str, tuple[Relation, ...]]


def _sentence(text: str, told: tuple[Relation, ...]) -> Iterator[Reading]:
    for relation, pattern in (*_sentence_patterns(), *_patterns(told, asked=True)):
        match = pattern.fullmatch(text)
        if match:
            yield from _onwards(match[1], relation, told, MOST_RELATIONS - 1)
    for wrapper in _WRAPPERS:
        match = wrapper.fullmatch(text)
        if match:
            yield from (reading for reading in _readings(match[1].strip(), told, MOST_RELATIONS) if reading[1])


def _onwards(inner: str, relation: Relation, told: tuple[Relation, ...], most: int) -> Iterator[Reading]:
    for entity, relations in _readings(inner.strip(), told, most):
        if type_checked((*relations[-1:], relation)):
            yield entity, (*relations, relation)


@lru_cache(maxsize=4096)
def _readings(text: str, told: tuple[Relation, ...], most: int) -> tuple[Reading, ...]:
    """What a noun phrase may say: an entity, and at most so many relations to follow from it."""
    found: list[Reading] = []
    for relation, pattern in (*_noun_patterns(), *_patterns(told, asked=False)):
        match = pattern.fullmatch(text)
        if match and most:
            found += _onwards(match[1], relation, told, most - 1)
    if not found and _may_be_entity(text):
        found.append((text, ()))
    return tuple(found)


def _may_be_entity(text: str) -> bool:
    """Whether this can be a name: one word, or words that begin and end in capitals and ask nothing."""
    words = text.split()
    if len(words) < 2:
        return bool(words)
    return words[0].casefold() not in _ASKING and all(not word[0].islower() for word in (words[0], words[-1]))


def _pattern(template: str) -> re.Pattern[str]:
    body = re.escape(template.rstrip("?.!").strip()).replace(re.escape(SLOT), "(.+)").replace(r"\ ", r"\s+")
    return re.compile(body, re.IGNORECASE)


@cache
def _sentence_patterns() -> tuple[tuple[Relation, re.Pattern[str]], ...]:
    return tuple((r, _pattern(t)) for r in RELATIONS.values() for t in (*r.questions, *r.cloze))


@cache
def _noun_patterns() -> tuple[tuple[Relation, re.Pattern[str]], ...]:
    return tuple((r, _pattern(t)) for r in RELATIONS.values() for t in noun_phrases(r))


@lru_cache(maxsize=64)
def _patterns(told: tuple[Relation, ...], asked: bool) -> tuple[tuple[Relation, re.Pattern[str]], ...]:
    """The patterns of relations that edits tell: their questions, or their noun phrases."""
    return tuple((r, _pattern(t)) for r in told for t in (r.questions if asked else (r.noun,)) if t)


# --- similarity ---


def similar(question: str, entity: str, encoder: Encoder, domain: str | None = None) -> list[Chain]:
    """The chains of up to three relations whose noun phrases mean most nearly what the question asks.

    The entity is blanked on both sides; `domain` says what it is, when known. Raises `ModelError` when the
    encoder cannot be reached.
    """
    masked = re.sub(re.escape(entity), SLOT, question, flags=re.IGNORECASE)
    chains = [c for c in _all_chains() if domain is None or c[0].domain == domain]
    texts = [_phrase(c, form) for c in chains for form in (0, 1)]
    scores = (encoder.encode(texts) @ encoder.encode([blank(masked)])[0]).reshape(-1, 2).max(axis=1)
    best = np.argsort(-scores)[:3]
    return [Chain(entity, chains[i]) for i in best if scores[i] >= LEAST_SIMILARITY]


@cache
def _all_chains() -> tuple[tuple[Relation, ...], ...]:
    """Every type-correct chain of public relations that does not walk straight back."""
    public = [r for r in RELATIONS.values() if not r.private]
    chains: list[tuple[Relation, ...]] = [(r,) for r in public]
    longest = chains
    for _ in range(MOST_COMPARED - 1):
        longest = [(*c, r) for c in longest for r in public if r.domain == c[-1].range and c[-1].inverse != r.name]
        chains = chains + longest
    return tuple(chains)


def _phrase(relations: Sequence[Relation], form: int) -> str:
    text = "someone"
    for relation in relations:
        text = (relation.clause if form else relation.noun).format(s=text)
    return f"What is {text}?"
