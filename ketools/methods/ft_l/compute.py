"""FT-L's weight change: every token of the target, predicted at once by the prompt's last token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.methods.base import EditContext
from ketools.methods.fine_tuning import train, weight_at
from ketools.methods.ft_l.config import DEPTH, FTLConfig
from ketools.methods.support import batch_of, for_training, one_after_another, resolve_layer
from ketools.models.batch import predicted_at_once


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One weight change per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    config = for_training(cast(FTLConfig, context.config), request)
    block = resolve_layer(config.layer, len(context.require_model().structure.blocks), DEPTH)
    # The end of the answer would compete with the answer for the one place that predicts both.
    batch = predicted_at_once(batch_of(request, context, config, teach_implied=True, ended=False))
    size = float(weight_at(context, block)[1].square().mean().sqrt())
    schedule = replace(config.schedule, lr=config.lr * size)
    return train("ft-l", context, batch, block, schedule, linf=config.linf * size)
