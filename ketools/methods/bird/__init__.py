"""BIRD: ROME with a term that ties subject, relation and object in both directions."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.bird.config import BIRDConfig, search

METHOD = Method(
    name="bird",
    summary="ROME with a term that also draws the way back, from the new object to the subject.",
    phase="mastery",
    source="Ma et al. 2024, Untying the Reversal Curse via Bidirectional Language Model Editing",
    kinds=frozenset(Kind),
    config=BIRDConfig,
    compute=deferred("ketools.methods.bird.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
