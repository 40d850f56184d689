"""PMET: MEMIT with the attention optimised along, so that the FFN need not learn its part."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.pmet.config import PMETConfig, search

METHOD = Method(
    name="pmet",
    summary="MEMIT with attention and FFN states optimised together; only the FFN's part is written.",
    phase="mastery",
    source="Li et al. 2024, PMET: Precise Model Editing in a Transformer",
    kinds=frozenset(Kind),
    config=PMETConfig,
    compute=deferred("ketools.methods.pmet.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    joint=True,
    search=search,
)
