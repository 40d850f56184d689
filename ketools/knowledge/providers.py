"""Knowledge providers: relations, facts, names and data sets that packages register under entry points.

Nothing here is about one world: the bundled one is registered as anybody's is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ketools.core.errors import InvalidRequest
from ketools.core.plugins import plugins

if TYPE_CHECKING:
    from ketools.knowledge.relations import Relation

KNOWLEDGE, DATASETS = "ketools.knowledge", "ketools.datasets"
Names = Mapping[str, Sequence[str]]
Key = tuple[str, str]
"""A subject and the name of a relation."""


def _nothing() -> Names:
    return {}


@dataclass(frozen=True)
class KnowledgeProvider:
    """What a model knows. `model`: the name under which that model is registered; None for what many models know.

    `subjects()`: names by domain; `aliases()`: other names by subject; `facts()`: targets by key;
    `other_target(rng, subject, relation)`: a target of the right kind that the fact does not have. `general`: the
    domains whose names any model may know. `relations()`: relations besides those of `ketools.knowledge.english`, in
    any language; facts that they express are asked for, probed and brought into scope in its words.
    """

    model: str | None
    subjects: Callable[[], Names]
    facts: Callable[[], Mapping[Key, str]]
    other_target: Callable[[random.Random, str, str], str]
    aliases: Callable[[], Names] = _nothing
    general: frozenset[str] = frozenset()
    relations: Callable[[], Sequence[Relation]] = tuple


@dataclass(frozen=True)
class DataSource:
    """Data sets by name: `load(name, split)` gives their rows. `multihop`: those of several hops."""

    names: Sequence[str]
    splits: Sequence[str]
    load: Callable[[str, str], list[dict[str, Any]]]
    multihop: Sequence[str] = ()


def providers() -> Mapping[str, KnowledgeProvider]:
    """The registered providers, by name. Raises `BrokenPlugin`."""
    return plugins(KNOWLEDGE, KnowledgeProvider)


def any_provider() -> KnowledgeProvider:
    """The first registered provider of a model, for what is measured on a known world.

    Raises `InvalidRequest` without one.
    """
    found = next((provider for provider in providers().values() if provider.model is not None), None)
    if found is None:
        raise InvalidRequest(f"No package registers facts ({KNOWLEDGE}); install one, or give data of your own.")
    return found


def data_sources() -> Mapping[str, DataSource]:
    """The registered data sets, by the name of their source. Raises `BrokenPlugin`."""
    return plugins(DATASETS, DataSource)


def source_of(name: str) -> DataSource | None:
    """The source of a data set."""
    return next((source for source in data_sources().values() if name in (*source.names, *source.multihop)), None)
