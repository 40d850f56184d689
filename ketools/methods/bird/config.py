"""Hyper-parameters of BIRD and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.r_rome.config import RROMEConfig
from ketools.methods.r_rome.config import search as rome_search


class BIRDConfig(RROMEConfig):
    """BIRD. `relation_weight`: alpha, the weight of the bidirectional term, whose distances are relative to the
    subject's state; 0 is R-ROME. `old`: beta, by which the old object is pushed away against drawing the new one near.
    """

    relation_weight: float = Field(default=0.1, ge=0, le=100)
    old: float = Field(default=0.5, ge=0, le=1)


def search(n_layers: int) -> list[BIRDConfig]:
    """R-ROME's configurations."""
    return [BIRDConfig(**config.model_dump()) for config in rome_search(n_layers)]
