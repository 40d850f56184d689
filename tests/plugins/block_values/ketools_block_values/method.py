"""The method; the module that computes is imported by its first computation."""

from __future__ import annotations

from pydantic import Field

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, MethodConfig, deferred


class BlockValuesConfig(MethodConfig):
    """`block`: whose output is replaced, counted from the first. `radius`: how near its key an input must be."""

    block: int = Field(default=3, ge=0)
    radius: float = Field(default=0.1, gt=0)
    steps: int = Field(default=60, ge=1, le=1000)
    lr: float = Field(default=0.5, gt=0, le=10)


METHOD = Method(
    name="block-values",
    summary="Replaces a block's output at the prompt's last token with a value that makes the target likely.",
    phase="association",
    source="Hartvigsen et al. 2023, Aging with GRACE, section 3",
    kinds=frozenset({Kind.INSERT, Kind.MODIFY}),
    config=BlockValuesConfig,
    compute=deferred("ketools_block_values.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
)
