"""Countries in German: their capitals and currencies."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ketools.knowledge.providers import Key, KnowledgeProvider
from ketools.knowledge.relations import Relation

CAPITALS = {
    "Frankreich": "Paris",
    "Italien": "Rom",
    "Griechenland": "Athen",
    "Norwegen": "Oslo",
    "Polen": "Warschau",
    "Österreich": "Wien",
    "Ägypten": "Kairo",
    "Japan": "Tokio",
}


def relations() -> Sequence[Relation]:
    """Both are of the domain `land`, whose subjects are German names."""
    return (
        Relation(
            name="hauptstadt",
            domain="land",
            range="stadt",
            noun="die Hauptstadt von {s}",
            clause="die Stadt, in der die Regierung von {s} sitzt",
            cloze=("Die Hauptstadt von {s} ist", "Die Hauptstadt von {s} heißt", "Regiert wird {s} von"),
            questions=("Was ist die Hauptstadt von {s}?", "Wie heißt die Hauptstadt von {s}?"),
            language="de",
        ),
        Relation(
            name="währung",
            domain="land",
            range="geld",
            noun="die Währung von {s}",
            clause="das Geld, mit dem man in {s} bezahlt",
            cloze=("Die Währung von {s} ist", "In {s} bezahlt man mit"),
            questions=("Was ist die Währung von {s}?", "Womit bezahlt man in {s}?"),
            language="de",
        ),
    )


def subjects() -> Mapping[str, Sequence[str]]:
    return {"land": tuple(CAPITALS)}


def facts() -> Mapping[Key, str]:
    return {(country, "hauptstadt"): capital for country, capital in CAPITALS.items()}


def other_target(rng: random.Random, subject: str, relation: str) -> str:
    return rng.choice([capital for country, capital in CAPITALS.items() if country != subject])


KNOWLEDGE = KnowledgeProvider(
    model=None,
    subjects=subjects,
    facts=facts,
    other_target=other_target,
    general=frozenset({"land"}),
    relations=relations,
)
