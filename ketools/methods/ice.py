"""ICE: the fact is put into the prompt, `Imagine that {fact}.`; no weight changes."""

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, MethodConfig
from ketools.methods.notes import noting

METHOD = Method(
    name="ice",
    summary="States the fact in the prompt whenever it is in scope; instant, no weights change.",
    phase="recognition",
    source="Cohen et al. 2023, Evaluating the Ripple Effects of Knowledge Editing",
    kinds=frozenset(Kind),
    config=MethodConfig,
    compute=noting("ice"),
    capabilities=frozenset({Capability.IN_PROMPTS}),
    needs_model=False,
)
