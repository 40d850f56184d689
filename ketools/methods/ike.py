"""IKE: the fact and demonstrations of how to use it are put into the prompt; no weight changes."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, MethodConfig
from ketools.methods.notes import noting

METHOD = Method(
    name="ike",
    summary="States the fact with demonstrations that copy, update or retain; instant, no weights change.",
    phase="recognition",
    source="Zheng et al. 2023, Can We Edit Factual Knowledge by In-Context Learning?",
    kinds=frozenset(Kind),
    config=MethodConfig,
    compute=noting("ike"),
    capabilities=frozenset({Capability.IN_PROMPTS}),
    needs_model=False,
)
