"""Hyper-parameters of LoRA and what calibration may try."""

from __future__ import annotations

from ketools.methods.configs import AdapterConfig


class LoRAConfig(AdapterConfig):
    """LoRA with the survey's values: rank 8, alpha 32, queries and values of every block, 70 steps of 5e-3."""


def search(n_layers: int) -> list[LoRAConfig]:
    """Step sizes, modules (the FFN of the later half, or attention everywhere), and how much is preserved.

    Cheaper ones first: a budget of time may end the search.
    """
    late = tuple(range(n_layers // 2, n_layers))
    wide = {"relations": 12, "neighbours": 8, "answer": 3, "preservation": 3.0}
    return [
        LoRAConfig(lr=lr, prefixes=0, **where, **preserved)
        for where in ({"roles": ("down_proj",), "layers": late}, {})
        for preserved in ({}, wide)
        for lr in (5e-3, 1e-3)
    ]
