"""ROME's rank-one update, relative to the weight under the layer in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor

from ketools.edits import Artefact, EditRequest, LowRankDelta
from ketools.methods.base import Compute, EditContext
from ketools.methods.rome.config import DEPTH, ROMEConfig
from ketools.methods.support import batch_of, covariances_of, for_request, one_after_another, resolve_layer
from ketools.models.keys import mean_keys, subject_keys
from ketools.models.solves import update_rows
from ketools.models.targets import compute_z

Term = Callable[[EditRequest, EditContext, int], Callable[[Tensor], Tensor]]
"""For a request and a block: a further part of the loss `[1]`, of the value's offset `[1, out]`."""


def rank_one(method: str, term: Term | None = None) -> Compute:
    """A computation of one rank-one change per request. It raises `Diverged`, `InvalidRequest`."""
    return lambda requests, context: one_after_another(requests, context, _one(method, term))


def _one(method: str, term: Term | None) -> Callable[[EditRequest, EditContext], Artefact]:
    def compute(request: EditRequest, context: EditContext) -> Artefact:
        em, config = context.require_model(), for_request(cast(ROMEConfig, context.config), request)
        block = resolve_layer(config.layer, len(em.structure.blocks), DEPTH)
        name = em.structure.blocks[block].down_proj
        factor = covariances_of(context).factor(em, name, config.ridge, context.progress)
        batch = batch_of(request, context, config)
        keys, values = subject_keys(em, name, batch)
        u = update_rows(factor, mean_keys(keys, batch), 0.0).to(keys)  # [1, in], u^T k* = 1
        (outcome,) = compute_z(
            em,
            batch,
            block,
            values,
            config.schedule,
            directions=u if config.through_update else None,
            clamp=config.clamp,
            term=term(request, context, block) if term is not None else None,
            progress=context.progress,
        )
        # v* - W k* is the offset itself, and delta = (v* - W k*) u^T.
        return LowRankDelta(
            method,
            {name: (u, outcome.value[:, None])},
            {"layer": block, "steps": outcome.steps, "nll": outcome.nll, "kl": outcome.kl},
        )

    return compute
