"""Hyper-parameters of AlphaEdit and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.located import JointConfig

DEPTHS = (4 / 32, 8 / 32)
"""The paper edits blocks 4 to 8 of Llama-3-8b's 32."""


class AlphaEditConfig(JointConfig):
    """AlphaEdit. `null_space`: the share of the keys' energy that may lie in the directions that are edited.

    `damping`: the weight of the update's size (the identity in eq. 13), as a multiple of the projected keys' own.
    The covariance is taken as it is, so `ridge` plays no part.
    """

    null_space: float = Field(default=0.02, gt=0, lt=1)
    damping: float = Field(default=1e-2, gt=0, le=1000)


def search(n_layers: int) -> list[AlphaEditConfig]:
    """Early and middle stretches of blocks, with sizes of the null space."""
    stretches = sorted({(round(a * (n_layers - 1)), round(b * (n_layers - 1))) for a, b in ((0, 0.2), (0.2, 0.4))})
    return [
        AlphaEditConfig(layers=tuple(range(first, last + 1)), null_space=share, clamp=clamp)
        for first, last in stretches
        for share in (0.01, 0.05, 0.2)
        for clamp in (4.0, 12.0)
    ]
