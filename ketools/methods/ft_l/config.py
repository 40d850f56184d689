"""Hyper-parameters of FT-L and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.configs import OneLayerConfig

DEPTH = 21 / 32
"""The survey edits block 21 of Llama-2-7b's 32."""


class FTLConfig(OneLayerConfig):
    """FT-L. `lr` and `linf` are multiples of the root mean square of the weight, so that they suit models of any scale.

    The paper's step of 5e-4 is about 0.025 of Llama-2-7b's. `linf`: bound on every element of the change.
    """

    lr: float = Field(default=0.025, gt=0, le=10)
    linf: float = Field(default=0.5, gt=0, le=100)


def search(n_layers: int) -> list[FTLConfig]:
    """Layers of the later half, with step sizes and bounds."""
    layers = sorted({round(share * (n_layers - 1)) for share in (0.6, 0.8, 1.0)}, reverse=True)
    return [
        FTLConfig(layer=layer, lr=lr, linf=linf, prefixes=0)
        for layer in layers
        for lr in (0.025, 0.05)
        for linf in (0.2, 1.0)
    ]
