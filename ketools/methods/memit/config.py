"""Hyper-parameters of MEMIT and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.located import JointConfig

DEPTHS = (4 / 32, 8 / 32)
"""The survey edits blocks 4 to 8 of Llama-2-7b's 32."""


class MEMITConfig(JointConfig):
    """MEMIT. `weight`: lambda, by which the covariance counts against the new facts, per input of the module.

    The paper's 15000 is 1.4 per input of Llama-2-7b's down projection. Small models need less: their facts are
    a larger share of all that the module stores.
    """

    weight: float = Field(default=0.05, gt=0, le=1000)


def search(n_layers: int) -> list[MEMITConfig]:
    """Early and middle stretches of blocks, with weights of the covariance and bounds on the offset."""
    stretches = sorted({(round(a * (n_layers - 1)), round(b * (n_layers - 1))) for a, b in ((0, 0.2), (0.2, 0.4))})
    return [
        MEMITConfig(layers=tuple(range(first, last + 1)), weight=weight, clamp=clamp)
        for first, last in stretches
        for weight in (0.01, 0.1)
        for clamp in (4.0, 12.0)
    ]
