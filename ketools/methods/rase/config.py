"""Hyper-parameters of RASE and what calibration may try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ketools.methods.configs import RoutedConfig


class RASEConfig(RoutedConfig):
    """RASE. `editor`: the method that makes a fact's patch, with `options` in place of its defaults.

    A patch acts on its own queries alone, so its steps may be larger than the editor's own and need preserve nothing.
    Methods that write at the subject are no choice: a query is read later, when the subject is past. `rank`: a dense
    patch is kept as its best factors of that rank.
    """

    editor: Literal["ft-m", "ft-l", "lora", "adalora"] = "ft-m"
    options: Mapping[str, Any] = Field(default={"steps": 40, "lr": 2e-3, "preservation": 0.0}, max_length=40)
    rank: int = Field(default=8, ge=1, le=512)


def search(n_layers: int) -> list[RASEConfig]:
    """Step sizes of the patch, and how far a fact reaches."""
    return [
        RASEConfig(options={"lr": lr, "steps": 40}, reach=reach)
        for lr in (5e-4, 2e-3, 5e-3)
        for reach in (0.5, 0.7, 0.9)
    ]
