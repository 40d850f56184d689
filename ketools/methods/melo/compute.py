"""MELO's block: trained with its router in place, so that what is trained is what is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.codebook import Blocks
from ketools.layers.kinds.hook import HookState
from ketools.methods.adapters import Packing, factored_change, random_start
from ketools.methods.base import EditContext
from ketools.methods.ft_m.config import DEPTH
from ketools.methods.melo.config import MELOConfig
from ketools.methods.routing import routed, routed_batch
from ketools.methods.support import for_training, one_after_another, resolve_layer
from ketools.models.batch import edits_only
from ketools.models.keys import read_targets
from ketools.models.tail import Change
from ketools.models.targets import Objective, minimise


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One block with its keys per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), for_training(cast(MELOConfig, context.config), request)
    block = resolve_layer(config.layer, len(em.structure.blocks), DEPTH)
    name = em.structure.blocks[block].down_proj
    width, out = em.structure.linear_names[name]
    packing, scale = Packing({name: ((config.rank, width), (out, config.rank))}), config.alpha / config.rank
    batch = routed_batch(request, context, config)
    start, (inputs, _) = random_start(packing, request).to(em.device), read_targets(em, batch, [name])
    book = routed(inputs[name], batch, config.reach, *packing.unpack(start)[name])
    # What is left alone cannot change, so nothing of it needs to be looked at any more.
    objective = Objective(em, edits_only(batch), block)
    _, inside = book.nearest(objective.keys)

    def acting(x: torch.Tensor) -> Change:
        a, b = packing.unpack(x)[name]
        change = factored_change(a, scale * b)
        return lambda keys: change(keys) * inside[..., None]

    outcome = minimise(
        objective, start, acting, config.schedule, penalty=lambda x: x.square().sum(), progress=context.progress
    )
    a, b = packing.unpack(outcome.value)[name]
    assert book.blocks is not None
    trained = replace(book, blocks=Blocks(a.clone(), scale * b, book.blocks.spans))
    metadata = {"layer": block, "keys": len(book.keys), "steps": outcome.steps, "nll": outcome.nll}
    return HookState("melo", {name: trained}, metadata)
