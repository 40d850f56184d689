"""Factoring a dense weight change."""

from __future__ import annotations

import torch
from torch import Tensor


def truncated(delta: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best factors of that rank, A `[r, in]` and B `[out, r]`, of a change `[out, in]` (Eckart, Young).

    Also the residual energy ||D - B A||^2 / ||D||^2, between 0 and 1.
    """
    u, s, vh = torch.linalg.svd(delta.double(), full_matrices=False)
    r = min(rank, len(s))
    root = s[:r].sqrt()
    total = float(s.square().sum())
    residual = float(s[r:].square().sum()) / total if total else 0.0
    return (root[:, None] * vh[:r]).float(), (u[:, :r] * root).float(), residual
