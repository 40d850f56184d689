"""Hyper-parameters of ROME and what calibration may try."""

from __future__ import annotations

from ketools.methods.support import LocatedConfig, OneLayerConfig

DEPTH = 5 / 32
"""The survey edits block 5 of Llama-2-7b's 32."""


class ROMEConfig(LocatedConfig, OneLayerConfig):
    """ROME. `through_update`: optimise v* through the rank-one update itself, so that the loss sees what leaks to
    other keys; False changes the value in place, as the paper.
    """

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
