"""AdaLoRA: Delta = P diag(l) Q per module, with the least important triplets of all modules pruned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.adalora.config import AdaLoRAConfig
from ketools.methods.adapters import Packing, adapted_blocks, adapted_modules, factored_change
from ketools.methods.base import EditContext
from ketools.methods.support import batch_of, for_training, one_after_another
from ketools.models.contexts import seeded
from ketools.models.targets import Objective, minimise


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One set of adapters per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), for_training(cast(AdaLoRAConfig, context.config), request)
    rank = max(config.initial_rank, config.rank)
    sizes = {name: em.structure.linear_names[name] for name in adapted_modules(config, em.structure)}
    ranks = {name: min(rank, *pair) for name, pair in sizes.items()}
    packing = Packing({name: ((r := ranks[name], i), (r,), (o, r)) for name, (i, o) in sizes.items()})
    scale = config.alpha / config.rank
    outcome = minimise(
        Objective(em, batch_of(request, context, config, teach_implied=True), adapted_blocks(config, em.structure)[0]),
        _start(packing, request).to(em.device),
        lambda x: {n: factored_change(q, scale * p * lam) for n, (q, lam, p) in packing.unpack(x).items()},
        config.schedule,
        penalty=lambda x: config.orthogonality * _skew(packing, x),
        project=Pruning(packing, config),
        progress=context.progress,
    )
    factors = _kept(packing, outcome.value, scale)
    total = sum(len(a) for a, _ in factors.values())
    return LowRankDelta("adalora", factors, {"steps": outcome.steps, "nll": outcome.nll, "rank": total})


def _start(packing: Packing, request: EditRequest) -> Tensor:
    """Orthonormal P and Q, singular values zero: the change starts at zero. The same for the same request."""
    generator = torch.Generator().manual_seed(seeded(request).getrandbits(62))
    parts: list[Tensor] = []
    for q, lam, p in packing.shapes.values():
        right, left = torch.randn(q, generator=generator), torch.randn(p, generator=generator)
        parts += [torch.linalg.qr(right.T)[0].T, torch.zeros(lam), torch.linalg.qr(left)[0]]
    return torch.cat([part.flatten() for part in parts])


def _skew(packing: Packing, x: Tensor) -> Tensor:
    """How far P and Q are from orthonormal: the sum of ||P^T P - I||^2 + ||Q Q^T - I||^2 (eq. 4)."""
    total = x.new_zeros(())
    for q, lam, p in packing.unpack(x).values():
        eye = torch.eye(len(lam), device=x.device)
        total = total + (p.T @ p - eye).square().sum() + (q @ q.T - eye).square().sum()
    return total


def _kept(packing: Packing, x: Tensor, scale: float) -> dict[str, tuple[Tensor, Tensor]]:
    """The factors of the triplets that were not pruned; a module without any is left out."""
    factors = {}
    for name, (q, lam, p) in packing.unpack(x).items():
        inside = lam != 0
        if inside.any():
            factors[name] = (q[inside], (scale * p * lam)[:, inside])
    return factors


class Pruning:
    """After each step, sets the singular values outside the budget to zero (AdaLoRA, algorithm 1)."""

    def __init__(self, packing: Packing, config: AdaLoRAConfig) -> None:
        self._packing, self._config, self._step = packing, config, 0
        self._sensitivity: Tensor | None = None
        self._uncertainty: Tensor | None = None

    def __call__(self, value: Tensor) -> None:
        """Prune `value [1, parameters]` in place, by its gradient of this step."""
        assert value.grad is not None
        self._step += 1
        score = self._packing.unpack(self._smoothed((value * value.grad).abs()[0]))
        # A triplet counts with its singular value and the mean of each of its vectors (eq. 7).
        importance = torch.cat([lam + q.mean(1) + p.mean(0) for q, lam, p in score.values()])
        budget = self._budget(len(importance))
        if budget >= len(importance):
            return
        kept = torch.zeros(len(importance), dtype=torch.bool, device=value.device)
        kept[importance.topk(budget).indices] = True
        at = 0
        for _, lam, _ in self._packing.unpack(value[0]).values():
            lam.mul_(kept[at : at + len(lam)])
            at += len(lam)

    def _smoothed(self, now: Tensor) -> Tensor:
        """Smoothed sensitivity times its uncertainty (eqs. 8 to 10)."""
        beta = self._config.smoothing
        if self._sensitivity is None or self._uncertainty is None:
            self._sensitivity, self._uncertainty = torch.zeros_like(now), torch.zeros_like(now)
        self._sensitivity = beta * self._sensitivity + (1 - beta) * now
        self._uncertainty = beta * self._uncertainty + (1 - beta) * (now - self._sensitivity).abs()
        return self._sensitivity * self._uncertainty

    def _budget(self, initial: int) -> int:
        """How many triplets may stay at this step: a cubic fall from all to the target (eq. 12)."""
        config = self._config
        final = min(config.rank * len(self._packing.shapes), initial)
        begin, end = config.warm_up * config.steps, (1 - config.settle) * config.steps
        share = min(max((self._step - begin) / max(end - begin, 1.0), 0.0), 1.0)
        return round(final + (initial - final) * (1 - share) ** 3)
