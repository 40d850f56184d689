"""A small benchmark in MQuAKE's format, one encoder, and the bundled model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ketools.atlas import weights_path
from ketools.core.requests import EditRequest
from ketools.engines.local import LocalEngine
from ketools.evaluation.mquake import MultihopData, load_multihop
from ketools.knowledge.relations import RELATIONS
from ketools.multihop import EditMemory, MultihopResources, load_prompts
from ketools.retrieval import MiniLMEncoder
from ketools.service.runtime import multihop_resources

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder()


@pytest.fixture(scope="session")
def sample() -> MultihopData:
    """Three cases about invented people, of two, two and four hops."""
    return load_multihop(DATA / "mquake_sample.json")


@pytest.fixture(scope="session")
def plain_kit(encoder: MiniLMEncoder) -> MultihopResources:
    """What the agents need, with the prompts for large models."""
    return MultihopResources(load_prompts("default"), encoder)


@pytest.fixture(scope="session")
def engine() -> LocalEngine:
    """The bundled model."""
    return LocalEngine(weights_path())


@pytest.fixture(scope="session")
def atlas_kit(engine: LocalEngine, encoder: MiniLMEncoder) -> MultihopResources:
    """What the agents need for the bundled model."""
    return multihop_resources(engine.model_hash, encoder)


@pytest.fixture(scope="session")
def edit() -> Callable[[str, str, str], EditRequest]:
    """Makes an edit, given subject, relation and target, in the relation's first cloze."""

    def make(subject: str, relation: str, target: str) -> EditRequest:
        prompt = RELATIONS[relation].cloze[0].format(s=subject)
        return EditRequest(subject=subject, prompt=prompt, target_new=target)

    return make


@pytest.fixture(scope="session")
def remembered() -> Callable[..., EditMemory]:
    """Makes a memory of edits e0, e1, ..., given a resources and the requests."""

    def make(resources: MultihopResources, *requests: EditRequest) -> EditMemory:
        return resources.memory([(f"e{i}", request) for i, request in enumerate(requests)])

    return make
