"""The value of one key: found by Adam on the output of the block at the prompt's last token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from ketools.core.errors import Diverged
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.codebook import Codebook
from ketools.methods.base import EditContext
from ketools.methods.support import one_after_another
from ketools.models.hooks import capture, edit_output
from ketools.models.text import encode_pairs
from ketools_block_values.kind import BlockValues
from ketools_block_values.method import BlockValuesConfig


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One key and value per request. Raises `Diverged` where the target stays improbable."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), cast(BlockValuesConfig, context.config)
    block = em.structure.blocks[config.block].name
    ((prompt, target),) = encode_pairs(em, [request.prompt], [request.target_new])
    ids, last = torch.tensor([[*prompt, *target]], device=em.device), len(prompt) - 1
    with torch.no_grad(), capture(em, [block]) as after, capture(em, [block], inputs=True) as before:
        em.model(ids)
    value = after[block][0, last].clone().requires_grad_()

    def nll() -> Tensor:
        def put(output: Tensor) -> Tensor:
            return torch.cat([output[:, :last], value[None, None], output[:, last + 1 :]], dim=1)

        with edit_output(em, block, put):
            logits = em.model(ids).logits[0, last:-1]
        return torch.nn.functional.cross_entropy(logits, ids[0, last + 1 :])

    optimiser = torch.optim.Adam([value], lr=config.lr)
    for step in range(config.steps):
        context.progress(step, config.steps, "finding the value")
        optimiser.zero_grad()
        (value.grad,) = torch.autograd.grad(nll(), [value])
        optimiser.step()
    if not float(nll().detach()) < 1.0:
        raise Diverged("The target stays improbable; raise steps, or choose another block.")
    key = before[block][0, last]
    radius = torch.full((1, 1), config.radius)
    return BlockValues("block-values", {block: Codebook(key[None].float(), value.detach()[None].float(), radius)})
