"""Hyper-parameters of R-ROME and what calibration may try."""

from __future__ import annotations

from ketools.methods.rome.config import ROMEConfig
from ketools.methods.rome.config import search as rome_search


class RROMEConfig(ROMEConfig):
    """R-ROME: v* is optimised at the subject's last token, as in the paper."""

    through_update: bool = False


def search(n_layers: int) -> list[RROMEConfig]:
    """ROME's configurations."""
    return [RROMEConfig(**{**config.model_dump(), "through_update": False}) for config in rome_search(n_layers)]
