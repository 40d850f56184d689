"""Edits that act only on queries near those that they were made for: what MELO and RASE share.

A query is what a linear module reads at a token that predicts; at the end of a prompt it tells which fact is asked for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.layers.codebook import Blocks, Codebook
from ketools.methods.base import EditContext
from ketools.methods.configs import RoutedConfig
from ketools.methods.support import batch_of
from ketools.models.batch import Batch, Positions


def routed_batch(request: EditRequest, context: EditContext, config: RoutedConfig) -> Batch:
    """The request's contexts with the prompts to leave alone, whatever `preservation` is.

    Raises `InvalidRequest` when nothing is there to tell the fact from.
    """
    config = config.model_copy(update={"preservation": 1.0})
    batch = batch_of(request, context, config, teach_implied=True)
    if not len(batch.kept):
        raise InvalidRequest(f"Nothing to tell {request.prompt!r} from; set relations or neighbours above 0.")
    return batch


def routed(inputs: Tensor, batch: Batch, reach: float, a: Tensor, b: Tensor) -> Codebook:
    """The codebook that adds `b @ a` to a module's output where one of the batch's targets is predicted, and nearby.

    `inputs [n, t, in]`: what the module reads on the batch. `a [r, in]`, `b [out, r]`.
    """
    keys, alone = _at(inputs, batch.target), _at(inputs, batch.kept)
    radius = reach * torch.cdist(keys, alone, compute_mode="donot_use_mm_for_euclid_dist").amin(1)
    kept = outermost(keys, radius)
    spans = keys.new_tensor([[0, len(a)]]).expand(len(kept), 2).contiguous()
    return Codebook(keys[kept], keys.new_zeros(len(kept), len(b)), radius[kept, None], Blocks(a, b, spans))


def outermost(keys: Tensor, radius: Tensor) -> Tensor:
    """Indices of the balls that no other one holds wholly: together they reach as far as all of them.

    `keys [n, in]`, `radius [n]`. They are MELO's clusters: keys near each other are kept once.
    """
    apart = torch.cdist(keys, keys, compute_mode="donot_use_mm_for_euclid_dist")
    chosen: list[int] = []
    for i in radius.argsort(descending=True, stable=True).tolist():
        if not any(float(apart[i, j] + radius[i]) <= float(radius[j]) for j in chosen):
            chosen.append(i)
    return torch.tensor(sorted(chosen), device=keys.device)


def _at(inputs: Tensor, where: Positions) -> Tensor:
    return inputs[where.rows, where.columns].detach().float()
