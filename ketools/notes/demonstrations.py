"""Demonstrations that show a model how a new fact in its context is to be used (IKE, arXiv:2305.12740).

A demonstration is a new fact and one prompt: `copy` asks for the fact in its own words, `update` in other
words, `retain` asks for something that the fact does not touch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ketools.core.text import normalise
from ketools.knowledge.relations import RELATIONS
from ketools.retrieval import Encoder

DemonstrationKind = Literal["copy", "update", "retain"]

SHARES: tuple[tuple[DemonstrationKind, int], ...] = (("copy", 4), ("update", 12), ("retain", 16))
"""The proportions of the three kinds among 32 demonstrations in IKE."""

MOST_COMPARED = 64
"""How many demonstrations are embedded for one choice; those of the note's relation come first."""

COMMON_FACTS: tuple[tuple[str, str, str], ...] = (
    ("Egypt", "capital", "Cairo"),
    ("Norway", "capital", "Oslo"),
    ("Kenya", "capital", "Nairobi"),
    ("Cuba", "capital", "Havana"),
    ("Egypt", "continent", "Africa"),
    ("Norway", "continent", "Europe"),
    ("Peru", "continent", "South America"),
    ("Japan", "continent", "Asia"),
    ("Brazil", "language", "Portuguese"),
    ("Japan", "language", "Japanese"),
    ("Austria", "language", "German"),
    ("Spain", "language", "Spanish"),
    ("Japan", "currency", "yen"),
    ("India", "currency", "rupee"),
    ("Poland", "currency", "zloty"),
    ("Turkey", "currency", "lira"),
)
"""What every model knows: the pool when nobody gives another one."""


@dataclass(frozen=True)
class Demonstration:
    """One block of an IKE prompt; `about` holds the names that it mentions."""

    kind: DemonstrationKind
    relation: str
    fact: str
    prompt: str
    answer: str
    about: frozenset[str]

    @property
    def block(self) -> str:
        """The block as IKE writes it."""
        return block(self.fact, self.prompt, self.answer)


def block(fact: str, prompt: str, answer: str) -> str:
    """A new fact, a prompt, and the answer that is right once the fact holds."""
    return f"New Fact: {fact}\nPrompt: {prompt} {answer}"


class DemonstrationPool:
    """Demonstrations to choose from. Immutable; embeddings are the encoder's business."""

    def __init__(self, demonstrations: Sequence[Demonstration]) -> None:
        self._by_kind: dict[str, list[Demonstration]] = {kind: [] for kind, _ in SHARES}
        for demonstration in demonstrations:
            self._by_kind[demonstration.kind].append(demonstration)

    @classmethod
    def from_facts(cls, facts: Iterable[tuple[str, str, str]] = COMMON_FACTS) -> DemonstrationPool:
        """Three demonstrations per fact (subject, relation name, target), each a counterfactual change of it.

        Facts of unknown or private relations, and of relations with fewer than three targets, are left out.
        """
        by_relation: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for subject, relation, target in facts:
            if relation in RELATIONS and not RELATIONS[relation].private:
                by_relation[relation].append((subject, target))
        return cls([d for name, known in by_relation.items() for d in _of_relation(name, known)])

    def choose(
        self,
        fact: str,
        relation: str | None,
        count: int,
        *,
        encoder: Encoder | None = None,
        avoid: Collection[str] = (),
    ) -> list[Demonstration]:
        """At most `count` demonstrations for a new fact, in IKE's proportions, the most similar last.

        `avoid`: names (the note's subject and target) that a demonstration must not speak about.
        Without an encoder, those of the same relation count as the most similar.
        """
        unwanted = {normalise(name) for name in avoid}
        picked: list[tuple[float, Demonstration]] = []
        for kind, share in quota(count):
            fit = [d for d in self._by_kind[kind] if not d.about & unwanted]
            fit.sort(key=lambda d: d.relation != relation)
            ranked = _similar(fact, relation, fit[:MOST_COMPARED], encoder)
            picked += ranked[-share:] if share else []
        return [demonstration for _, demonstration in sorted(picked, key=lambda pair: pair[0])]


def quota(count: int) -> list[tuple[DemonstrationKind, int]]:
    """How many of each kind make `count`, by largest remainder; ties go to the rarer kind."""
    total = sum(share for _, share in SHARES)
    exact = [(kind, count * share / total) for kind, share in SHARES]
    whole = {kind: int(value) for kind, value in exact}
    missing = count - sum(whole.values())
    for kind, _ in sorted(exact, key=lambda pair: int(pair[1]) - pair[1])[:missing]:
        whole[kind] += 1
    return [(kind, whole[kind]) for kind, _ in SHARES]


def _of_relation(name: str, known: Sequence[tuple[str, str]]) -> list[Demonstration]:
    relation = RELATIONS[name]
    found: list[Demonstration] = []
    for i, (subject, target) in enumerate(known):
        others = [pair for pair in (*known[i + 1 :], *known[:i]) if pair[0] != subject and pair[1] != target]
        new = others[0][1] if others else ""
        kept = [pair for pair in others if pair[1] != new]
        if not kept:
            continue
        neighbour, unchanged = kept[0]
        cloze = relation.cloze[i % len(relation.cloze)].format(s=subject)
        told = f"{cloze} {new}"
        question = relation.questions[i % len(relation.questions)]
        about = frozenset(normalise(n) for n in (subject, target, neighbour, new, unchanged))
        asked: tuple[tuple[DemonstrationKind, str, str], ...] = (
            ("copy", cloze, new),
            ("update", question.format(s=subject), new),
            ("retain", question.format(s=neighbour), unchanged),
        )
        found += [Demonstration(kind, name, told, prompt, answer, about) for kind, prompt, answer in asked]
    return found


def _similar(
    fact: str, relation: str | None, among: Sequence[Demonstration], encoder: Encoder | None
) -> list[tuple[float, Demonstration]]:
    """The demonstrations with their similarity to the fact, least similar first."""
    if encoder is None or not among:
        scored = [(float(d.relation == relation), d) for d in among]
    else:
        vectors = encoder.encode([fact, *(d.fact for d in among)])
        scored = list(zip((vectors[1:] @ vectors[0]).tolist(), among, strict=True))
    return sorted(scored, key=lambda pair: pair[0])
