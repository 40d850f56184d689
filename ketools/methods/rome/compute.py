"""ROME's rank-one update, relative to the weight under the layer in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ketools.edits import Artefact, EditRequest, LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.rome.config import DEPTH, ROMEConfig
from ketools.methods.support import batch_of, covariances_of, for_request, one_after_another, resolve_layer
from ketools.models.covariance import rank_one_direction
from ketools.models.keys import mean_key, subject_keys
from ketools.models.targets import compute_z


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One rank-one change per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), for_request(cast(ROMEConfig, context.config), request)
    block = resolve_layer(config.layer, len(em.structure.blocks), DEPTH)
    name = em.structure.blocks[block].down_proj
    factor = covariances_of(context).factor(em, name, config.ridge, context.progress)
    batch = batch_of(request, context, config)
    keys, values = subject_keys(em, name, batch)
    key = mean_key(keys, batch.subject.rows, batch.contexts)
    u = rank_one_direction(factor, key).to(key)  # [in], u^T k* = 1
    outcome = compute_z(
        em,
        batch,
        block,
        values,
        config.schedule,
        direction=u if config.through_update else None,
        clamp=config.clamp,
        progress=context.progress,
    )
    # v* - W k* is the offset itself, and delta = (v* - W k*) u^T.
    return LowRankDelta(
        "rome",
        {name: (u[None], outcome.value[:, None])},
        {"layer": block, "steps": outcome.steps, "nll": outcome.nll, "kl": outcome.kl},
    )
