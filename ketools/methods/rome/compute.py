"""ROME's rank-one update, relative to the weight under the layer in use."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import Compute, EditContext
from ketools.methods.rome.config import DEPTH, ROMEConfig
from ketools.methods.support import batch_of, for_locating, metric_of, one_after_another, resolve_layer
from ketools.models.batch import edits_only
from ketools.models.keys import read_keys
from ketools.models.sites import sites_of
from ketools.models.solves import update_rows
from ketools.models.targets import compute_z

Term = Callable[[EditRequest, EditContext, int], Callable[[Tensor], Tensor]]
"""For a request and a block: a further part of the loss `[1]`, of the value's offset `[1, out]`."""


def rank_one(method: str, term: Term | None = None) -> Compute:
    """A computation of one rank-one change per request, or per token of its target where it is written at the
    prompt's end. It raises `Diverged`, `InvalidRequest`.
    """
    return lambda requests, context: one_after_another(requests, context, _one(method, term))


def _one(method: str, term: Term | None) -> Callable[[EditRequest, EditContext], Artefact]:
    def compute(request: EditRequest, context: EditContext) -> Artefact:
        em, config = context.require_model(), for_locating(cast(ROMEConfig, context.config), request)
        block = resolve_layer(config.layer, len(em.structure.blocks), DEPTH)
        name, token = em.structure.blocks[block].down_proj, config.fact_token
        batch = batch_of(request, context, config, teach_implied=token == "prompt_last")
        keys = read_keys(em, [batch], token, name)
        rows = update_rows(metric_of(context, config, name, keys), keys.means, 0.0).to(keys.means)  # A k* = 1
        if token == "prompt_last" and not config.through_update:
            batch = edits_only(batch)  # nothing else gets the value, so nothing else can change
        sites = sites_of(batch, token)
        (outcome,) = compute_z(
            em,
            batch,
            block,
            sites,
            config.schedule,
            directions=rows[None] if config.through_update else None,
            clamp=config.clamp,
            term=term(request, context, block) if term is not None else None,
            progress=context.progress,
        )
        # v* - W k* is the offset itself, and delta = (v* - W k*) u^T.
        return LowRankDelta(
            method,
            {name: (rows, outcome.value.T)},
            {"layer": block, "steps": outcome.steps, "nll": outcome.nll, "kl": outcome.kl},
        )

    return compute


compute = rank_one("rome")
