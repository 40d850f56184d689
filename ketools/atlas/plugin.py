"""What the bundled world registers: its model, what it knows, its background, its data sets (see pyproject.toml)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ketools.atlas import weights_path
from ketools.core.requests import Prompt, chat_prompt
from ketools.knowledge.providers import DataSource, Key, KnowledgeProvider
from ketools.knowledge.relations import RELATIONS
from ketools.models.background import Background, neighbours_from
from ketools.models.bundled import BundledModel, ModelBackground

NAME = "atlas"
PROMPTS = 2000
"""Four times the inputs of the model's down projections: fewer would leave directions in which nothing is asked."""


def _subjects() -> Mapping[str, Sequence[str]]:
    from ketools.atlas.world import world

    return world().pools


def _aliases() -> Mapping[str, Sequence[str]]:
    from ketools.atlas.world import world

    return {subject: (alias,) for subject, alias in world().aliases.items()}


def _facts() -> Mapping[Key, str]:
    from ketools.atlas.world import world

    return {key: world().facts[key] for key in world().keys}


def _other_target(rng: random.Random, subject: str, relation: str) -> str:
    from ketools.atlas.world import other_target

    return other_target(rng, subject, relation)


def background() -> Background:
    """The bundled model's corpus, its world's subjects as neighbours, and what is asked about them.

    One prompt of five is about a name that the model does not know.
    """
    from ketools.atlas.corpus.document import any_cloze, any_question
    from ketools.atlas.corpus.mix import SECOND, draw
    from ketools.atlas.world import unknown_subject, world

    def texts() -> Iterator[str]:
        rng = random.Random(0)
        while True:
            yield rng.choice(draw(rng, SECOND).texts())

    def prompts() -> Iterator[Prompt]:
        rng = random.Random(0)
        for _ in range(PROMPTS):
            subject, name = rng.choice(world().keys)
            if rng.random() < 0.2:
                subject = unknown_subject(rng, RELATIONS[name].domain)
            asked = rng.random() < 0.5
            yield chat_prompt(any_question(rng, subject, name)) if asked else any_cloze(rng, subject, name)

    return Background("atlas-corpus", texts, neighbours_from(_subjects()), prompts)


def _load(name: str, split: str) -> list[dict[str, Any]]:
    from ketools.atlas import datasets

    return datasets.load(name, split)


TASKS = ("zsre", "counterfact", "wiki_recent", "wikibio", "convsent", "sanitation")
MODEL = BundledModel(weights_path)
KNOWLEDGE = KnowledgeProvider(
    model=NAME,
    subjects=_subjects,
    facts=_facts,
    other_target=_other_target,
    aliases=_aliases,
    general=frozenset({"country", "city"}),
)
BACKGROUND = ModelBackground(NAME, background)
DATASETS = DataSource(
    names=("atlas-knowedit", *(f"atlas-knowedit/{task}" for task in TASKS), "atlas-personality"),
    splits=("train", "test"),
    load=_load,
    multihop=("atlas-mquake",),
)
