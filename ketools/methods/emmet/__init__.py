"""EMMET: ROME for a batch; every key is mapped to its value exactly."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.emmet.config import EMMETConfig, search

METHOD = Method(
    name="emmet",
    summary="Maps the keys of a batch of facts to their values exactly, in one FFN down projection.",
    phase="mastery",
    source="Gupta et al. 2024, A Unified Framework for Model Editing",
    kinds=frozenset(Kind),
    config=EMMETConfig,
    compute=deferred("ketools.methods.emmet.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    joint=True,
    search=search,
)
