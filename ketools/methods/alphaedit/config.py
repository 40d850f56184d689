"""Hyper-parameters of AlphaEdit and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.configs import PROMPT_END, STRETCHES, JointConfig, stretch

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
    """Stretches of blocks at the prompt's end, and early ones at the subject, with sizes of the null space.

    Cheaper ones first: a budget of time may end the search.
    """
    return [
        AlphaEditConfig(layers=stretch(n_layers, shares), null_space=share, rounds=8, **PROMPT_END)
        for shares in STRETCHES
        for share in (0.05, 0.3)
    ] + [
        AlphaEditConfig(layers=stretch(n_layers, shares), null_space=share)
        for shares in ((0, 0.2), (0.2, 0.4))
        for share in (0.05, 0.2)
    ]
