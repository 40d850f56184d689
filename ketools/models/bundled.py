"""Models that packages bring along, and what is known about them. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ketools.core.errors import ModelError
from ketools.core.plugins import plugins
from ketools.knowledge.providers import KnowledgeProvider, providers
from ketools.models.background import Background, packaged_background
from ketools.models.directory import CONFIG, directory_hash

MODELS, BACKGROUNDS = "ketools.models", "ketools.backgrounds"


@dataclass(frozen=True)
class BundledModel:
    """A model that a package brings along; its name is the entry point's. `directory()`: where it lies."""

    directory: Callable[[], Path]


@dataclass(frozen=True)
class ModelBackground:
    """The background of the bundled model of that name."""

    model: str
    make: Callable[[], Background]


def bundled_models() -> Mapping[str, BundledModel]:
    """The registered models, by name. Raises `BrokenPlugin`."""
    return plugins(MODELS, BundledModel)


def bundled_directory(name: str) -> Path:
    """Where a bundled model lies. Raises `ModelError` when no package brings it."""
    found = bundled_models().get(name)
    if found is None:
        raise ModelError(f"No package brings a model named {name!r}. Name a model directory with --model.")
    return found.directory()


def bundled_name(model_hash: str) -> str | None:
    """The name of the bundled model with this content; None for any other model."""
    places = {name: model.directory() for name, model in bundled_models().items()}
    return next((name for name, place in places.items() if _hash_of(place) == model_hash), None)


@cache
def _hash_of(directory: Path) -> str | None:
    return directory_hash(directory) if (directory / CONFIG).is_file() else None


def provider_of(model_hash: str) -> KnowledgeProvider | None:
    """What is known of a model's own facts."""
    name = bundled_name(model_hash)
    return next((found for found in providers().values() if name is not None and found.model == name), None)


def known_subjects(model_hash: str) -> dict[str, Sequence[str]]:
    """Names to make probes of: all of the model's own provider, the general ones of every provider for any other."""
    own = provider_of(model_hash)
    if own is not None:
        return dict(own.subjects())
    general: dict[str, Sequence[str]] = {}
    for found in providers().values():
        for domain, names in found.subjects().items():
            if domain in found.general:
                general[domain] = (*general.get(domain, ()), *names)
    return general


def known_aliases(model_hash: str) -> Mapping[str, Sequence[str]]:
    """Other names of subjects, of the model's own provider."""
    own = provider_of(model_hash)
    return own.aliases() if own is not None else {}


def default_background(model_hash: str) -> Background:
    """What is registered for the model, packaged text for any other."""
    name = bundled_name(model_hash)
    found = plugins(BACKGROUNDS, ModelBackground).values()
    own = next((background for background in found if background.model == name), None)
    return own.make() if own is not None else packaged_background()
