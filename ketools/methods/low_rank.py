"""Factoring a dense weight change, and lowering the rank of a factored one."""

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


def added(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rank: int) -> tuple[tuple[Tensor, Tensor], float]:
    """Two changes A `[n, in]`, B `[out, n]` of one module as one of at most that rank, and the residual energy."""
    a, b = torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]], dim=1)
    if len(a) <= rank:
        return (a, b), 0.0
    *factors, residual = compressed(a, b, rank)
    return (factors[0], factors[1]), residual


def compressed(a: Tensor, b: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """`truncated` of B A for A `[n, in]`, B `[out, n]`, without ever forming the matrix."""
    qa, ra = torch.linalg.qr(a.double().T)
    qb, rb = torch.linalg.qr(b.double())
    inner, outer, residual = truncated(rb @ ra.T, rank)
    return (inner.double() @ qa.T).float(), (qb @ outer.double()).float(), residual
