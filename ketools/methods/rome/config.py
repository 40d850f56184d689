"""Hyper-parameters of ROME and what calibration may try."""

from __future__ import annotations

from ketools.methods.configs import PROMPT_END, LocatedConfig, OneLayerConfig, at_depths

DEPTH = 5 / 32
"""The survey edits block 5 of Llama-2-7b's 32."""


class ROMEConfig(LocatedConfig, OneLayerConfig):
    """ROME. `through_update`: optimise v* through the rank-one update itself, so that the loss sees what leaks to
    other keys; False changes the value in place, as the paper.
    """

    through_update: bool = True


def search(n_layers: int) -> list[ROMEConfig]:
    """Blocks at the prompt's end, and early ones at the subject with bounds on the offset.

    Cheaper ones first: a budget of time may end the search.
    """
    return [ROMEConfig(layer=layer, clamp=12.0, **PROMPT_END) for layer in at_depths(n_layers, 0.4, 0.6, 0.8, 1.0)] + [
        ROMEConfig(layer=layer, clamp=clamp) for layer in at_depths(n_layers, 0.0, 0.2, 0.4) for clamp in (4.0, 12.0)
    ]
