"""R-ROME: ROME with one key throughout, which is what keeps a long sequence of edits from collapsing."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.r_rome.config import RROMEConfig, search

METHOD = Method(
    name="r-rome",
    summary="ROME with the same averaged key in every place of its formula; the value is changed in place.",
    phase="mastery",
    source="Gupta et al. 2024, Rebuilding ROME: Resolving Model Collapse during Sequential Model Editing",
    kinds=frozenset(Kind),
    config=RROMEConfig,
    compute=deferred("ketools.methods.r_rome.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
