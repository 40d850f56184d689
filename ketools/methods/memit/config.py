"""Hyper-parameters of MEMIT and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.configs import PROMPT_END, STRETCHES, JointConfig, stretch

DEPTHS = (4 / 32, 8 / 32)
"""The survey edits blocks 4 to 8 of Llama-2-7b's 32."""


class MEMITConfig(JointConfig):
    """MEMIT. `weight`: lambda, by which the covariance counts against the new facts, per input of the module.

    The paper's 15000 is 1.4 per input of Llama-2-7b's down projection. Small models need less: their facts are
    a larger share of all that the module stores.
    """

    weight: float = Field(default=0.05, gt=0, le=1000)


def search(n_layers: int) -> list[MEMITConfig]:
    """Stretches of blocks at the prompt's end, and early ones at the subject, with weights of the covariance.

    Cheaper ones first: a budget of time may end the search.
    """
    return [
        MEMITConfig(layers=stretch(n_layers, shares), weight=weight, rounds=8, **PROMPT_END)
        for shares in STRETCHES
        for weight in (5e-4, 1e-2)
    ] + [
        MEMITConfig(layers=stretch(n_layers, shares), weight=weight)
        for shares in ((0, 0.2), (0.2, 0.4))
        for weight in (0.01, 0.1)
    ]
