"""AlphaEdit: MEMIT within the null space of what is to be preserved."""

from ketools.core.requests import Kind
from ketools.methods.alphaedit.compute import compute
from ketools.methods.alphaedit.config import AlphaEditConfig, search
from ketools.methods.base import Method

METHOD = Method(
    name="alphaedit",
    summary="Writes facts only into directions that the preserved knowledge does not use; made for long sequences.",
    phase="mastery",
    source="Fang et al. 2025, AlphaEdit: Null-Space Constrained Knowledge Editing for Language Models",
    kinds=frozenset(Kind),
    config=AlphaEditConfig,
    compute=compute,
    joint=True,
    search=search,
)
