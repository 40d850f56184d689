"""Hyper-parameters of scope-routed adapters and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.base import MethodConfig
from ketools.models.options import Schedule


class RoutedAdapterConfig(MethodConfig):
    """`blocks`: how many of the last blocks get an adapter of their down projection, of rank `rank`.

    Nothing is preserved: the scope keeps other requests away. `confidence`: the probability of every target token at
    which training stops.
    """

    blocks: int = Field(default=2, ge=1, le=16)
    rank: int = Field(default=16, ge=1, le=256)
    steps: int = Field(default=40, ge=1, le=500)
    lr: float = Field(default=1e-2, gt=0, le=1)
    confidence: float = Field(default=0.9, gt=0, lt=1)

    @property
    def schedule(self) -> Schedule:
        """How the adapter is optimised."""
        return Schedule(self.steps, self.lr, self.confidence, preservation=0.0)


def search(n_layers: int) -> list[RoutedAdapterConfig]:
    """Step sizes and numbers of blocks, cheaper ones first."""
    counts = sorted({min(blocks, n_layers) for blocks in (2, 4)})
    return [RoutedAdapterConfig(blocks=blocks, lr=lr) for blocks in counts for lr in (1e-2, 3e-3)]
