"""Hyper-parameters of PMET and what calibration may try."""

from __future__ import annotations

from ketools.methods.memit.config import MEMITConfig
from ketools.methods.memit.config import search as memit_search


class PMETConfig(MEMITConfig):
    """PMET has MEMIT's hyper-parameters."""


def search(n_layers: int) -> list[PMETConfig]:
    """MEMIT's configurations."""
    return [PMETConfig(**config.model_dump()) for config in memit_search(n_layers)]
