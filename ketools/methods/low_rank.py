"""Factoring a dense weight change, and lowering the rank of a factored one."""

from __future__ import annotations

import torch
from torch import Tensor

from ketools.models.solves import leading


def truncated(delta: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """The best factors of that rank, A `[r, in]` and B `[out, r]`, of a change `[out, in]` (Eckart, Young).

    Also the residual energy ||D - B A||^2 / ||D||^2, between 0 and 1.
    """
    u, s, vh = leading(delta.double(), rank)
    r = min(rank, len(s))
    root = s[:r].sqrt()
    whole = len(s) == min(delta.shape)
    total = float(s.square().sum() if whole else delta.double().square().sum())
    lost = float(s[r:].square().sum()) if whole else max(total - float(s[:r].square().sum()), 0.0)
    residual = lost / total if total else 0.0
    return (root[:, None] * vh[:r]).float(), (u[:, :r] * root).float(), residual


def added(
    one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rank: int, metric: Tensor | None = None
) -> tuple[tuple[Tensor, Tensor], float]:
    """Two changes A `[n, in]`, B `[out, n]` of one module as one of at most that rank, and the residual energy."""
    a, b = torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]], dim=1)
    if len(a) <= rank:
        return (a, b), 0.0
    *factors, residual = compressed(a, b, rank, metric)
    return (factors[0], factors[1]), residual


def compressed(a: Tensor, b: Tensor, rank: int, metric: Tensor | None = None) -> tuple[Tensor, Tensor, float]:
    """`truncated` of B A for A `[n, in]`, B `[out, n]`, without ever forming the matrix.

    `metric [in, in]`: lower triangular L in float64, for the best change of that rank in ||(D - B A) L||, which is how
    much is lost over all keys k where L L^T is their sum of k k^T; the residual energy is then measured so too. Without
    it all directions of the input count alike.
    """
    weighted = a.double() if metric is None else a.double().to(metric.device) @ metric
    qa, ra = torch.linalg.qr(weighted.T)
    qb, rb = torch.linalg.qr(b.double().to(weighted.device))
    inner, outer, residual = truncated(rb @ ra.T, rank)
    rows = inner.double() @ qa.T
    if metric is not None:
        rows = torch.linalg.solve_triangular(metric, rows, upper=False, left=False)
    return rows.float().to(a.device), (qb @ outer.double()).float().to(b.device), residual
