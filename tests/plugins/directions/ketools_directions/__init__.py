"""Writes a token's direction of the head at a prompt's key, told apart from usual keys by a prepared metric."""

from __future__ import annotations

from pydantic import Field

from ketools.core.requests import Kind
from ketools.methods.base import Capability, Method, MethodConfig, deferred, deferred_prepare


class DirectionsConfig(MethodConfig):
    """`strength`: length of what is written, in lengths of the residual stream. `ridge`: of the metric."""

    strength: float = Field(default=3.0, gt=0)
    ridge: float = Field(default=0.01, gt=0)


METHOD = Method(
    name="directions",
    summary="Writes the target's direction of the head at the prompt's key, in one step.",
    phase="mastery",
    source="an example of ketools' plug-in contract",
    kinds=frozenset({Kind.INSERT, Kind.MODIFY}),
    config=DirectionsConfig,
    compute=deferred("ketools_directions.compute"),
    capabilities=frozenset({Capability.IN_WEIGHTS}),
    prepare=deferred_prepare("ketools_directions.compute"),
)
