"""AdaLoRA: adapters whose ranks are given to the modules that use them."""

from ketools.core.requests import Kind
from ketools.methods.adalora.config import AdaLoRAConfig, search
from ketools.methods.base import Capability, Method, deferred

METHOD = Method(
    name="adalora",
    summary="LoRA in the form of a singular value decomposition, whose least important directions are pruned.",
    phase="association",
    source="Zhang et al. 2023, AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning",
    kinds=frozenset(Kind),
    config=AdaLoRAConfig,
    compute=deferred("ketools.methods.adalora.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    search=search,
)
