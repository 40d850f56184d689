"""RASE: single edits of another method in a memory, each retrieved when its fact is asked for."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.rase.config import RASEConfig, search

METHOD = Method(
    name="rase",
    summary="Keeps another method's single edit as a patch that is retrieved when its fact is asked for.",
    phase="association",
    source="Han et al. 2023, Improving Sequential Model Editing with Fact Retrieval",
    kinds=frozenset(Kind),
    config=RASEConfig,
    compute=deferred("ketools.methods.rase.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS, Capability.HOOKED}),
    search=search,
)
