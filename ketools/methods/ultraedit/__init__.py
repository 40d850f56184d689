"""UltraEdit: one step from hidden states and gradients; no training, no subject."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.ultraedit.config import UltraEditConfig, search

METHOD = Method(
    name="ultraedit",
    summary="One regularised least-squares step from hidden states and gradients; many facts at once, no training.",
    phase="mastery",
    source="Gu et al. 2025, UltraEdit: Training-, Subject-, and Memory-Free Lifelong Editing in Language Models",
    kinds=frozenset(Kind),
    config=UltraEditConfig,
    compute=deferred("ketools.methods.ultraedit.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    joint=True,
    search=search,
)
