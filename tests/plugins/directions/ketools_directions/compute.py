"""What is prepared: the inverse second moment of the last block's keys over the model's background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from ketools.core.progress import Progress
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.support import one_after_another
from ketools.models.background import Background
from ketools.models.covariance import covariances
from ketools.models.editable import EditableModel
from ketools.models.hooks import capture
from ketools.models.structure import get_module, weight_of
from ketools.models.text import encode_pairs
from ketools_directions import DirectionsConfig


def prepare(model: EditableModel, data: Background, config: MethodConfig, progress: Progress) -> Mapping[str, Tensor]:
    """The metric `[in, in]`."""
    progress(0, 1, "preparing the metric")
    name = model.structure.blocks[-1].down_proj
    moment = covariances(model, [name], data.texts(), max_tokens=2000, progress=progress)[name]
    ridge = cast(DirectionsConfig, config).ridge * moment.diagonal().mean()
    return {"metric": torch.linalg.inv(moment + ridge * torch.eye(len(moment), dtype=moment.dtype)).float()}


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One change of rank 1 per request."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, metric = context.require_model(), context.require_state().tensors["metric"]
    name = em.structure.blocks[-1].down_proj
    ((prompt, target),) = encode_pairs(em, [request.prompt], [request.target_new])
    block = em.structure.blocks[-1].name
    ids = torch.tensor([prompt], device=em.device)
    with torch.no_grad(), capture(em, [name], inputs=True) as keys, capture(em, [block]) as after:
        said = em.model(ids).logits[0, -1].argmax()
    head = weight_of(get_module(em.model, em.structure.lm_head)).detach()
    wanted = head[target[0]] - head[said]
    key, length = keys[name][0, -1], after[block][0, -1].norm()
    row = key @ metric
    write = cast(DirectionsConfig, context.config).strength * length * wanted / wanted.norm()
    return LowRankDelta("directions", {name: ((row / (row @ key))[None], write[:, None])})
