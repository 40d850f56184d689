"""Hyper-parameters of EMMET and what calibration may try."""

from __future__ import annotations

from ketools.methods.configs import PROMPT_END, JointConfig, at_depths

DEPTH = 5 / 32
"""As ROME: block 5 of Llama-2-7b's 32."""


class EMMETConfig(JointConfig):
    """EMMET. With more than one layer, each writes its part of what is missing."""


def search(n_layers: int) -> list[EMMETConfig]:
    """Blocks at the prompt's end, and early ones at the subject with bounds on the offset; cheaper ones first."""
    return [
        EMMETConfig(layers=(layer,), rounds=4, **PROMPT_END) for layer in at_depths(n_layers, 0.4, 0.6, 0.8, 1.0)
    ] + [
        EMMETConfig(layers=(layer,), clamp=clamp)
        for layer in at_depths(n_layers, 0.0, 0.2, 0.4)
        for clamp in (4.0, 12.0)
    ]
