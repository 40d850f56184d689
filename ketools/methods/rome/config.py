"""Hyper-parameters of ROME and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.support import OptimisedConfig

DEPTH = 5 / 32
"""The survey edits block 5 of Llama-2-7b's 32."""


class ROMEConfig(OptimisedConfig):
    """ROME. `lr` is Adam's step relative to the root mean square of the value it starts from.

    `clamp`: bound on the offset's norm, as a multiple of the value's. `ridge`: lambda added to the
    covariance, as a multiple of its mean diagonal. `through_update`: optimise v* through the rank-one update
    itself, so that the loss sees what leaks to other keys; False changes the value in place, as the paper.
    """

    lr: float = Field(default=0.5, gt=0, le=10)
    decay: float = Field(default=1e-3, ge=0, le=1000)
    clamp: float = Field(default=4.0, gt=0, le=1000)
    ridge: float = Field(default=1e-2, gt=0, le=1000)
    through_update: bool = True


def search(n_layers: int) -> list[ROMEConfig]:
    """Early and middle layers, with bounds on the offset and weights of preservation."""
    layers = sorted({round(share * (n_layers - 1)) for share in (0.0, 0.2, 0.4)})
    return [
        ROMEConfig(layer=layer, clamp=clamp, preservation=preservation)
        for layer in layers
        for clamp in (4.0, 12.0)
        for preservation in (1.0, 4.0)
    ]
