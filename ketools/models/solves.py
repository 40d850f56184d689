"""The closed forms of locate-then-edit: from keys and a covariance to the input side of an update.

An update of n values is Delta = R A with residuals R `[out, n]` and rows A `[n, in]`; only A depends on the keys.
The change stays factored, and row i with residual i is the part of value i, which can be taken off by itself.
All arithmetic is in float64; rows are told in the type of the keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest

_LOST_DIGITS = 1e-11


@dataclass(frozen=True)
class Metric:
    """How much an update changes what should stay, as the quadratic form M = L L^T + X^T X.

    `factor [in, in]`: L, the Cholesky factor of the covariance of the model's own keys. `spared [m, in]`: X, single
    keys that count besides; none by default, as in the papers.
    """

    factor: Tensor
    spared: Tensor | None = None

    def solve(self, b: Tensor) -> Tensor:
        """M^-1 b `[in, k]`; by Woodbury's identity while the single keys are fewer than the inputs."""
        if self._direct is not None:
            whole: Tensor = torch.cholesky_solve(b, self._direct)
            return whole
        solved: Tensor = torch.cholesky_solve(b, self.factor)
        if not len(self._x):
            return solved
        half: Tensor = torch.cholesky_solve(self._x.T, self.factor)  # (L L^T)^-1 X^T [in, m]
        inner = self._x @ half + torch.eye(len(self._x), dtype=half.dtype)
        correction: Tensor = half @ torch.linalg.solve(inner, half.T @ b)
        return solved - correction

    def matrix(self) -> Tensor:
        """M `[in, in]`."""
        return self.factor @ self.factor.T + self._x.T @ self._x

    @cached_property
    def _x(self) -> Tensor:
        return self.factor.new_zeros(0, len(self.factor)) if self.spared is None else self.spared.double().cpu()

    @cached_property
    def _direct(self) -> Tensor | None:
        return torch.linalg.cholesky(self.matrix()) if len(self._x) >= len(self.factor) else None


def update_rows(metric: Metric, keys: Tensor, weight: float) -> Tensor:
    """A = K^T (w M + K K^T)^-1 `[n, in]` (MEMIT eq. 14, with M = C), for w = `weight`; in the limit w = 0, A K = I.

    `keys [n, in]`: K^T. The smaller of two systems is solved: (w M + K K^T) A^T = K `[in, in]`, or by Woodbury's
    identity (w I + K^T M^-1 K) A = K^T M^-1 `[n, n]`. w = 0 with one key is ROME's
    u = M^-1 k / (k^T M^-1 k), with many EMMET's equality-constrained solution (eq. 9).
    Raises `InvalidRequest` when w = 0 and the keys are not linearly independent.
    """
    if weight > 0 and len(keys) > keys.shape[1]:
        system = metric.matrix().mul_(weight)
        for k in _in_doubles(keys):
            system.addmm_(k.T, k)
        return _solved(system, keys)
    k = keys.double().cpu()
    solved = metric.solve(k.T)  # M^-1 K [in, n]
    gram = k @ solved
    if weight == 0:
        _require_independent(gram)
    gram.diagonal().add_(weight)
    a: Tensor = torch.linalg.solve(gram, solved.T)
    return a.to(keys.dtype)


_ROWS = 512


def _in_doubles(keys: Tensor) -> Iterator[Tensor]:
    """The keys some at a time, in float64: of thousands no copy is held."""
    return (some.double().cpu() for some in torch.split(keys, _ROWS))


def _solved(system: Tensor, keys: Tensor) -> Tensor:
    """Rows A = K^T S^-1 `[n, in]` for a symmetric positive definite S `[in, in]`."""
    factor, rows = torch.linalg.cholesky(system), torch.empty_like(keys, device=system.device)
    for some, k in zip(torch.split(rows, _ROWS), _in_doubles(keys), strict=True):
        some.copy_(torch.cholesky_solve(k.T, factor).T)
    return rows


def _require_independent(gram: Tensor) -> None:
    """The keys' Gram matrix, scaled to a unit diagonal, must not be singular."""
    scale = gram.diagonal().clamp_min(1e-300).sqrt()
    smallest = float(torch.linalg.eigvalsh(gram / scale[:, None] / scale)[0])
    if smallest < _LOST_DIGITS:
        raise InvalidRequest(
            f"These {len(gram)} edits cannot all hold exactly: their keys are not independent of each other. Leave out "
            "edits of the same fact, make smaller batches, or choose memit, which balances them."
        )


def null_space(c: Tensor, share: float) -> Tensor:
    """An orthonormal basis `[in, d]` of the directions in which C's keys have next to no energy.

    The eigenvectors of the smallest eigenvalues of C `[in, in]` that together hold at most `share` of its
    trace. A fixed threshold on eigenvalues (AlphaEdit uses 0.02) suits one scale of activations only.
    Raises `InvalidRequest` when no direction is that empty.
    """
    values, vectors = torch.linalg.eigh(c.double())
    values = values.clamp_min(0.0)
    inside = int((values.cumsum(0) <= share * values.sum() + 1e-12).sum())
    if inside == 0:
        raise InvalidRequest(
            f"No direction of the keys holds less than {share:g} of their energy, so nothing can change without "
            "touching what is preserved; raise null_space."
        )
    basis: Tensor = vectors[:, :inside]
    return basis


def square_root(c: Tensor) -> Tensor:
    """Rows X `[in, in]` with X^T X = C, in float64."""
    values, vectors = torch.linalg.eigh(c.double())
    root: Tensor = values.clamp_min(0.0).sqrt()[:, None] * vectors.T
    return root


EXACT_SVD = 2048
"""Up to this smaller side a full SVD is affordable; beyond it a randomised one takes over."""


def leading(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """U `[out, k]`, S `[k]` and V^T `[k, in]` of a matrix in float64, the largest first: at least `rank` of them.

    The same matrix always gives the same bits.
    """
    if min(matrix.shape) <= EXACT_SVD:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u, s, vh
    with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
        torch.manual_seed(0)
        u, s, v = torch.svd_lowrank(matrix, q=min(rank + 16, *matrix.shape), niter=4)
    return u, s, v.T


def projected_rows(basis: Tensor, keys: Tensor, earlier: Tensor, ridge: float) -> Tensor:
    """A = K^T P (Kp Kp^T P + K K^T P + lambda I)^-1 `[n, in]` (AlphaEdit eq. 13), for P = U U^T.

    `basis [in, d]`: U. `keys [n, in]`: K^T. `earlier [m, in]`: keys Kp^T of earlier edits, whose outputs stay.
    lambda = `ridge` times the mean squared norm of the projected keys. Solved in the d coordinates of U.
    """
    system = basis.new_zeros(basis.shape[1], basis.shape[1])
    for k in _in_doubles(keys):
        q = k @ basis
        system.addmm_(q.T, q)
    lam = ridge * (system.trace() / len(keys)).clamp_min(1e-300)
    for k in _in_doubles(earlier):
        p = k @ basis
        system.addmm_(p.T, p)
    system.diagonal().add_(lam)
    # (K^T U) S^-1 U^T
    through = torch.linalg.solve(system, basis.T)
    return torch.cat([(k @ basis @ through).to(keys.dtype) for k in _in_doubles(keys)])
