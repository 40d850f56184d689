"""MELO: low-rank blocks that a codebook of queries switches on."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.melo.config import MELOConfig, search

METHOD = Method(
    name="melo",
    summary="Trains a low-rank block that only queries near the fact's own switch on; other prompts keep every bit.",
    phase="association",
    source="Yu et al. 2023, MELO: Enhancing Model Editing with Neuron-Indexed Dynamic LoRA",
    kinds=frozenset(Kind),
    config=MELOConfig,
    compute=deferred("ketools.methods.melo.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS, Capability.HOOKED}),
    search=search,
)
