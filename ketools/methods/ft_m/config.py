"""Hyper-parameters of FT-M and what calibration may try."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ketools.methods.configs import OneLayerConfig

DEPTH = 21 / 32
"""The survey edits block 21 of Llama-2-7b's 32."""


class FTMConfig(OneLayerConfig):
    """FT-M. `lr` is Adam's step on each weight.

    `linf`: bound on every element of the weight change (FT-L's constraint); None for none.
    `rank`: export the change as factors of this rank; None keeps it dense.
    """

    lr: float = Field(default=5e-4, gt=0, le=1)
    linf: Annotated[float, Field(gt=0, le=10)] | None = None
    rank: Annotated[int, Field(ge=1, le=512)] | None = None


def search(n_layers: int) -> list[FTMConfig]:
    """Layers of the later half, with step sizes and what is preserved; late layers are the cheaper ones."""
    layers = sorted({round(share * (n_layers - 1)) for share in (0.6, 0.8, 1.0)}, reverse=True)
    wide = {"relations": 12, "neighbours": 16, "answer": 3, "preservation": 3.0}
    return [
        FTMConfig(layer=layer, lr=lr, steps=40, prefixes=0, **preserved)
        for layer in layers
        for lr in (5e-4, 2e-3, 5e-3)
        for preserved in ({}, wide)
    ]
