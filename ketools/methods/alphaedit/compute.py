"""AlphaEdit's update in the null space of preserved keys."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from ketools.layers.composition import EditLayer
from ketools.methods.alphaedit.config import DEPTHS, AlphaEditConfig
from ketools.methods.base import EditContext
from ketools.methods.located import Rule, jointly
from ketools.models.keys import Keys
from ketools.models.solves import projected_rows

NAME = "alphaedit"


def projected(context: EditContext, module: str, keys: Keys) -> Tensor:
    """A `[n, in]` within the null space of the model's own keys, sparing the keys of earlier edits (eq. 13)."""
    config = cast(AlphaEditConfig, context.config)
    em, covariances = context.require_model(), context.require_covariances()
    basis = covariances.null_space(em, module, config.null_space, context.progress)
    earlier = keys_of_earlier(context.layer, module, keys.means)
    if config.spare:
        earlier = torch.cat([earlier, config.spare**0.5 * keys.spared])
    if config.prompts:
        ends = covariances.root_at_ends(em, module, context.progress)
        earlier = torch.cat([earlier, config.prompts**0.5 * ends.to(earlier)])
    return projected_rows(basis, keys.means, earlier, config.damping)


def keys_of_earlier(layer: EditLayer, module: str, like: Tensor) -> Tensor:
    """Keys `[m, in]` of the AlphaEdit edits that are live in the layer, so that an undone edit counts no more.

    Row a of an update is the projected key over its squared norm, mixed with the keys it was solved with; the
    rows of a layer thus span its projected keys, and a / |a|^2 has a key's length.
    """
    rows = [
        changes[module].factors()[0]
        for edit in layer.edits
        if edit.artefact.method == NAME and module in (changes := edit.artefact.changes())
    ]
    a = torch.cat([like[:0], *rows]).to(like)
    return a / a.square().sum(1, keepdim=True).clamp_min(1e-30)


compute = jointly(Rule(NAME, DEPTHS, projected))
