"""Hyper-parameters of UltraEdit and what calibration may try."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ketools.methods.configs import ContextConfig, Layers, stretch

DEPTHS = (0.6, 0.95)
"""The paper edits late blocks, e.g. 29 and 30 of Mistral-7b's 32."""


class UltraEditConfig(ContextConfig):
    """UltraEdit. `layers`: blocks whose down projections change; None: those of the later part of the model.

    `lr`: eta, the first length of the step, relative to the module's own output at the target's tokens; it is
    multiplied by `growth` at most `tries` times, until every token of the target has probability `confidence`. Each try
    is one forward pass. `damping`: the identity's weight in the least squares, relative to the squared norm of a hidden
    state. `prompts`: for how many hidden states those at the ends of the background's prompts count, all together,
    among what is preserved. `rank`: the rank of each edit's part; the energy that it leaves out is reported. `rounds`:
    how many steps at most; the paper takes one.
    """

    layers: Layers | None = None
    lr: float = Field(default=0.05, gt=0, le=100)
    growth: float = Field(default=1.4, gt=1, le=10)
    tries: int = Field(default=20, ge=1, le=50)
    confidence: float = Field(default=0.9, gt=0, lt=1)
    damping: float = Field(default=0.1, gt=0, le=1e6)
    prompts: float = Field(default=0.0, ge=0, le=1e6)
    rank: int = Field(default=8, ge=1, le=512)
    rounds: int = Field(default=1, ge=1, le=50)


def search(n_layers: int) -> list[UltraEditConfig]:
    """Late blocks, with weights of the identity, and how certain the target must be."""
    more: dict[str, Any] = {"preservation": 10.0, "prompts": 100.0, "rounds": 8, "prefixes": 0}
    return [
        UltraEditConfig(layers=stretch(n_layers, shares), damping=damping, confidence=confidence, **more)
        for shares in ((0.4, 1.0), (0.6, 1.0), (0.8, 1.0))
        for damping in (0.01, 0.1)
        for confidence in (0.5, 0.9)
    ]
