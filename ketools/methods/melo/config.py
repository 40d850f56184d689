"""Hyper-parameters of MELO and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.configs import OneLayerConfig, RoutedConfig


class MELOConfig(RoutedConfig, OneLayerConfig):
    """MELO. `rank`: of a fact's block, which is scaled by `alpha` / rank."""

    steps: int = Field(default=50, ge=1, le=500)
    lr: float = Field(default=5e-3, gt=0, le=1)
    rank: int = Field(default=2, ge=1, le=256)
    alpha: float = Field(default=8.0, gt=0, le=1024)


def search(n_layers: int) -> list[MELOConfig]:
    """How far a key reaches, and blocks of the later half."""
    layers = sorted({round(share * (n_layers - 1)) for share in (0.6, 0.8, 1.0)}, reverse=True)
    return [MELOConfig(layer=layer, reach=reach) for layer in layers for reach in (0.5, 0.7, 0.9)]
