"""UltraEdit's closed form, over hidden states and gradients at the target's tokens.

As in the paper, the change of a module is (H^T H + I)^-1 H^T V with V = -eta ||h||^2 g, from normalised hidden
states h and gradients g. Three things differ. Hidden states are scaled by the model's own statistics, which are what a
running normalisation tends to, so that an edit does not depend on which others were made before it. What is to be
preserved takes part with V = 0. The step's length is searched for, since one eta does not suit every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from ketools.edits import Artefact, EditRequest, LowRankDelta
from ketools.errors import Diverged
from ketools.methods.adapters import factored_change
from ketools.methods.base import EditContext
from ketools.methods.low_rank import compressed
from ketools.methods.support import batch_of, covariances_of, for_request, resolve_layers, with_covariances
from ketools.methods.ultraedit.config import DEPTHS, UltraEditConfig
from ketools.models import hooks
from ketools.models.batch import Batch, Positions, chunks, merged
from ketools.models.editable import EditableModel
from ketools.models.targets import Losses, Objective

Factors = dict[str, tuple[Tensor, Tensor]]


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """All requests in one update, each with a part of its own. Raises `Diverged`, `InvalidRequest`."""
    em, config = context.require_model(), cast(UltraEditConfig, context.config)
    blocks = resolve_layers(config.layers, len(em.structure.blocks), DEPTHS)
    names = [em.structure.blocks[block].down_proj for block in blocks]
    context = with_covariances(context, names)
    scales = {name: _scale(context, name) for name in names}
    with em.switch.use(context.layer):
        batches = [batch_of(request, context, for_request(config, request)) for request in requests]
        inverses = _inverses(em, config, batches, scales, context)
        made: list[Artefact] = []
        for found, _ in chunks(em, ((batch, None) for batch in batches)):
            made += _edits(em, config, merged(em, found), blocks[0], scales, inverses)
            context.progress(round(1000 * len(made) / len(requests)), 1000, f"{len(made)} of {len(requests)} edits")
    return made


def _scale(context: EditContext, name: str) -> Tensor:
    """The root mean square of each of the module's inputs over the model's text, `[in]`."""
    c = covariances_of(context).covariance(context.require_model(), name, context.progress)
    return c.diagonal().clamp_min(1e-12).sqrt()


def _inverses(
    em: EditableModel,
    config: UltraEditConfig,
    batches: Sequence[Batch],
    scales: dict[str, Tensor],
    context: EditContext,
) -> dict[str, Tensor]:
    """(H^T H + w K^T K + d I)^-1 `[in, in]` per module: H of all edits, K of what is preserved."""
    grams = {name: torch.zeros(len(scale), len(scale), dtype=torch.float64) for name, scale in scales.items()}
    for found, _ in chunks(em, ((batch, None) for batch in batches)):
        context.progress(0, 1000, f"hidden states of {len(batches)} edits")
        batch = merged(em, found)
        with torch.no_grad(), hooks.capture(em, list(scales), inputs=True) as seen:
            em.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
        for name, scale in scales.items():
            h, k = (_at(seen[name], where) / scale for where in (batch.target, batch.kept))
            grams[name] += h.T @ h + config.preservation * k.T @ k
    # The mean square of a normalised h is its width; damping is relative to that.
    return {
        name: torch.linalg.inv(gram + config.damping * len(gram) * torch.eye(len(gram), dtype=gram.dtype))
        for name, gram in grams.items()
    }


def _at(values: Tensor, where: Positions) -> Tensor:
    return values[where.rows, where.columns].double().cpu()


def _edits(
    em: EditableModel,
    config: UltraEditConfig,
    batch: Batch,
    first: int,
    scales: dict[str, Tensor],
    inverses: dict[str, Tensor],
) -> list[Artefact]:
    objective = Objective(em, batch, first)
    factors = _step(em, objective, batch, scales, inverses)
    owner = batch.owner[batch.target.rows]
    lengths, losses = _lengths(objective, config, factors, owner)
    made: list[Artefact] = []
    for i in range(batch.requests):
        own = owner == i
        parts = {n: compressed(a[own], lengths[i] * b[:, own], config.rank) for n, (a, b) in factors.items()}
        residual = max(left for _, _, left in parts.values())
        described = {"step": float(lengths[i]), "nll": float(losses.nll[i]), "kl": float(losses.kl[i])}
        kept = {name: (a, b) for name, (a, b, _) in parts.items()}
        made.append(LowRankDelta("ultraedit", kept, {**described, "residual_energy": residual}))
    return made


def _step(
    em: EditableModel, objective: Objective, batch: Batch, scales: dict[str, Tensor], inverses: dict[str, Tensor]
) -> Factors:
    """Factors A `[tokens, in]`, B `[out, tokens]` of the step of length 1, one row per token of a target."""
    zeros = {name: _zeros(batch, em.structure.linear_names[name][1], em.device) for name in scales}
    reading, writing = hooks.capture(em, list(scales), inputs=True), hooks.capture(em, list(scales))
    with reading as inputs, writing as outputs:
        losses = objective.losses({name: _adding(zero) for name, zero in zeros.items()})
    gradients = torch.autograd.grad(losses.nll.sum(), list(zeros.values()))
    factors: Factors = {}
    for (name, scale), gradient in zip(scales.items(), gradients, strict=True):
        h, g, out = (_at(x.detach(), batch.target) for x in (inputs[name], gradient, outputs[name]))
        h = h / scale
        size = out.square().mean().sqrt() / g.square().mean().sqrt().clamp_min(1e-30)
        v = -size * h.square().mean(1, keepdim=True) * g
        factors[name] = ((h @ inverses[name] / scale).float().to(em.device), v.T.float().to(em.device))
    return factors


def _zeros(batch: Batch, width: int, device: torch.device) -> Tensor:
    return torch.zeros(*batch.ids.shape, width, device=device, requires_grad=True)


def _adding(zero: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: zero


def _lengths(objective: Objective, config: UltraEditConfig, factors: Factors, owner: Tensor) -> tuple[Tensor, Losses]:
    """Each request's best length of the step `[requests]`, and its losses there.

    Raises `Diverged` when no length makes some target more probable.
    """
    with torch.no_grad():
        before = objective.losses(_scaled(factors, owner.new_zeros(objective.requests).float(), owner))
        best = torch.zeros(objective.requests, device=owner.device)
        lowest = before.nll + config.preservation * before.kl
        length = config.lr * torch.ones_like(best)
        for _ in range(config.doublings + 1):
            losses = objective.losses(_scaled(factors, length, owner))
            total = losses.nll + config.preservation * losses.kl
            better = total < lowest
            best, lowest = torch.where(better, length, best), torch.where(better, total, lowest)
            length = torch.where(better, 2 * length, length)
            if not better.any():
                break
        if not bool((best > 0).all()):
            raise Diverged(
                "A step along the gradient makes a target no more probable; lower lr, or choose other layers."
            )
        return best, objective.losses(_scaled(factors, best, owner))


def _scaled(factors: Factors, lengths: Tensor, owner: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    return {name: factored_change(a, b * lengths[owner]) for name, (a, b) in factors.items()}
