"""LoRA: low-rank adapters of the attention projections, trained on the target."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, deferred
from ketools.methods.lora.config import LoRAConfig, search

METHOD = Method(
    name="lora",
    summary="Trains low-rank adapters of several modules (queries and values, unless told otherwise).",
    phase="association",
    source="Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models",
    kinds=frozenset(Kind),
    config=LoRAConfig,
    compute=deferred("ketools.methods.lora.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
