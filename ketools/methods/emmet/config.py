"""Hyper-parameters of EMMET and what calibration may try."""

from __future__ import annotations

from ketools.methods.located import JointConfig

DEPTH = 5 / 32
"""As ROME: block 5 of Llama-2-7b's 32."""


class EMMETConfig(JointConfig):
    """EMMET. With more than one layer, each writes its part of what is missing."""


def search(n_layers: int) -> list[EMMETConfig]:
    """Early and middle layers, with bounds on the offset and weights of preservation."""
    layers = sorted({round(share * (n_layers - 1)) for share in (0.0, 0.2, 0.4)})
    return [
        EMMETConfig(layers=(layer,), clamp=clamp, preservation=preservation)
        for layer in layers
        for clamp in (4.0, 12.0)
        for preservation in (1.0, 4.0)
    ]
