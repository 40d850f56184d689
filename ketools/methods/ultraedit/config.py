"""Hyper-parameters of UltraEdit and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.support import ContextConfig, Layers

DEPTHS = (0.6, 0.95)
"""The paper edits late blocks, e.g. 29 and 30 of Mistral-7b's 32."""


class UltraEditConfig(ContextConfig):
    """UltraEdit. `layers`: blocks whose down projections change; None: those of the later part of the model.

    `lr`: eta, the length of the step relative to the module's own output at the target's tokens. `doublings`: how
    often the step may be doubled while that helps; each try is one forward pass. `damping`: the identity's weight
    in the least squares, relative to the squared norm of a hidden state. `rank`: the rank of each edit's part; the
    energy that it leaves out is reported.
    """

    layers: Layers | None = None
    lr: float = Field(default=0.1, gt=0, le=100)
    doublings: int = Field(default=6, ge=0, le=20)
    damping: float = Field(default=0.1, gt=0, le=1e6)
    rank: int = Field(default=8, ge=1, le=512)


def search(n_layers: int) -> list[UltraEditConfig]:
    """Late blocks, with weights of preservation."""
    late = [tuple(range(min(round(share * n_layers), n_layers - 1), n_layers)) for share in (0.5, 0.8)]
    return [
        UltraEditConfig(layers=layers, preservation=weight, damping=damping)
        for layers in late
        for weight in (1.0, 10.0)
        for damping in (0.01, 0.1)
    ]
