"""Hyper-parameters of AdaLoRA and what calibration may try."""

from __future__ import annotations

from pydantic import Field

from ketools.methods.configs import AdapterConfig
from ketools.methods.lora.config import search as lora_search


class AdaLoRAConfig(AdapterConfig):
    """AdaLoRA. `rank`: the mean rank per module that is left; each starts with `initial_rank`.

    Pruning begins after the share `warm_up` of the steps and ends with the share `settle` still to come.
    `orthogonality` weighs the penalty that keeps the singular vectors orthonormal; `smoothing`: the exponential
    average of importances and their uncertainty (beta 1 and 2).
    """

    initial_rank: int = Field(default=12, ge=1, le=256)
    warm_up: float = Field(default=0.1, ge=0, lt=0.5)
    settle: float = Field(default=0.4, gt=0, le=0.5)
    decay: float = Field(default=1.0, ge=0, le=1000)
    orthogonality: float = Field(default=0.1, ge=0, le=100)
    smoothing: float = Field(default=0.85, ge=0, lt=1)


def search(n_layers: int) -> list[AdaLoRAConfig]:
    """LoRA's configurations."""
    return [AdaLoRAConfig(**config.model_dump(exclude={"decay"})) for config in lora_search(n_layers)]
