"""FT-M's weight change: the target's tokens, each after those before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.methods.base import EditContext
from ketools.methods.fine_tuning import train
from ketools.methods.ft_m.config import DEPTH, FTMConfig
from ketools.methods.support import batch_of, for_training, one_after_another, resolve_layer


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One weight change per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    config = for_training(cast(FTMConfig, context.config), request)
    block = resolve_layer(config.layer, len(context.require_model().structure.blocks), DEPTH)
    batch = batch_of(request, context, config, teach_implied=True)
    return train("ft-m", context, batch, block, config.schedule, linf=config.linf, rank=config.rank)
