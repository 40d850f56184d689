"""AlphaEdit: MEMIT within the null space of what is to be preserved."""

from ketools.core.requests import Kind
from ketools.methods.alphaedit.config import AlphaEditConfig, search
from ketools.methods.base import Capability, Method, deferred

METHOD = Method(
    name="alphaedit",
    summary="Writes facts only into directions that the preserved knowledge does not use; made for long sequences.",
    phase="mastery",
    source="Fang et al. 2025, AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models",
    kinds=frozenset(Kind),
    config=AlphaEditConfig,
    compute=deferred("ketools.methods.alphaedit.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    joint=True,
    search=search,
)
