"""KN's update: columns of down projections move from the old answer's embedding to the new one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.kn.config import KNConfig
from ketools.methods.support import one_after_another
from ketools.models import text
from ketools.models.attribution import first_answer, neuron_attributions
from ketools.models.contexts import contexts_of
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module

Neurons = dict[str, Tensor]
"""Indices of a down projection's inputs, by module."""


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One change of a few columns per request. Raises `InvalidRequest` when no neuron stands out."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), cast(KNConfig, context.config)
    prompts = contexts_of(em, request, context.background, config.breadth).edit
    rows = [text.encode_prompt(em, prompt) for prompt in prompts]
    old = _first_token(em, request, request.target_old) if request.target_old else first_answer(em, rows[0])
    new = _first_token(em, request, request.target_new)
    neurons = refined(_attributed(em, rows, old, context, config), config)
    embedding = get_module(em.model, em.structure.embed).weight
    assert isinstance(embedding, Tensor)
    written = (config.new * embedding[new] - config.old * embedding[old]).detach()
    factors = {name: _columns(em, name, chosen, written) for name, chosen in neurons.items()}
    return LowRankDelta("kn", factors, {"neurons": sum(len(chosen) for chosen in neurons.values())})


def _first_token(em: EditableModel, request: EditRequest, answer: str) -> int:
    return text.encode_pair(em, request.prompt, answer)[1][0]


def _attributed(
    em: EditableModel, rows: Sequence[list[int]], answer: int, context: EditContext, config: KNConfig
) -> dict[str, Tensor]:
    found = {}
    for i, block in enumerate(em.structure.blocks):
        context.progress(i, len(em.structure.blocks), f"attributions of block {i}")
        found[block.down_proj] = neuron_attributions(em, rows, answer, block.down_proj, config.steps)
    return found


def refined(attributions: Mapping[str, Tensor], config: KNConfig) -> Neurons:
    """The neurons that count in enough prompts, strongest first, at most `most` (section 3.3).

    `attributions`: per module `[prompts, in]`. Raises `InvalidRequest` when there is none.
    """
    all_of = torch.cat(list(attributions.values()), dim=1)
    counts = (all_of >= config.threshold * all_of.max(1, keepdim=True).values.clamp_min(1e-30)).float().mean(0)
    strength = torch.where(counts >= config.share, all_of.mean(0), -torch.inf)
    chosen = strength.topk(min(config.most, len(strength))).indices
    chosen = chosen[strength[chosen].isfinite()]
    if not len(chosen):
        raise InvalidRequest("No neuron stands out in enough phrasings of the fact; lower share or threshold.")
    neurons: Neurons = {}
    start = 0
    for name, values in attributions.items():
        inside = chosen[(chosen >= start) & (chosen < start + values.shape[1])] - start
        if len(inside):
            neurons[name] = inside
        start += values.shape[1]
    return neurons


def _columns(em: EditableModel, name: str, chosen: Tensor, written: Tensor) -> tuple[Tensor, Tensor]:
    """Factors that add a vector `[out]` to the chosen columns: A `[1, in]` marks them, B `[out, 1]` is the vector."""
    a = torch.zeros(1, em.structure.linear_names[name][0], device=em.device)
    a[0, chosen] = 1.0
    return a, written[:, None].float()
