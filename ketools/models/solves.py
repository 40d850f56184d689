"""The closed forms of locate-then-edit: from keys and a covariance to the input side of an update.

An update of n edits is Delta = R A with residuals R `[out, n]` and rows A `[n, in]`; only A depends on the keys.
The change stays factored, and row i with residual i is the part of edit i, which can be taken off by itself.
All arithmetic is in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ketools.errors import InvalidRequest

_LOST_DIGITS = 1e-11


def update_rows(factor: Tensor, keys: Tensor, weight: float) -> Tensor:
    """A = K^T (w C + K K^T)^-1 `[n, in]` (MEMIT eq. 14), for w = `weight`; in the limit w = 0, A K = I.

    `factor [in, in]`: the Cholesky factor of C; `keys [n, in]`: K^T. By Woodbury's identity this is
    (w I + K^T C^-1 K)^-1 K^T C^-1, so an n x n system is all that is solved. w = 0 with one key is ROME's
    u = C^-1 k / (k^T C^-1 k), with many EMMET's equality-constrained solution (eq. 9).
    Raises `InvalidRequest` when w = 0 and the keys are not linearly independent.
    """
    k = keys.double().cpu()
    solved = torch.cholesky_solve(k.T, factor)  # C^-1 K [in, n]
    gram = k @ solved
    if weight == 0:
        _require_independent(gram)
    gram.diagonal().add_(weight)
    rows: Tensor = torch.linalg.solve(gram, solved.T)
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


def projected_rows(basis: Tensor, keys: Tensor, earlier: Tensor, ridge: float) -> Tensor:
    """A = K^T P (Kp Kp^T P + K K^T P + lambda I)^-1 `[n, in]` (AlphaEdit eq. 13), for P = U U^T.

    `basis [in, d]`: U. `keys [n, in]`: K^T. `earlier [m, in]`: keys Kp^T of earlier edits, whose outputs stay.
    lambda = `ridge` times the mean squared norm of the projected keys. Solved in the d coordinates of U.
    """
    q, p = keys.double().cpu() @ basis, earlier.double().cpu() @ basis
    lam = ridge * q.square().sum(1).mean().clamp_min(1e-300)
    system = q.T @ q + p.T @ p
    system.diagonal().add_(lam)
    rows: Tensor = torch.linalg.solve(system, q.T).T @ basis.T
    return rows
