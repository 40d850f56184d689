"""MEMIT's least-squares update."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from torch import Tensor

from ketools.methods.base import EditContext
from ketools.methods.located import Rule, jointly
from ketools.methods.memit.config import DEPTHS, MEMITConfig
from ketools.methods.support import metric_of
from ketools.models.keys import Keys
from ketools.models.solves import update_rows


def balanced(context: EditContext, module: str, keys: Keys) -> Tensor:
    """A = K^T (w C + K K^T)^-1 `[n, in]`: new facts against what the module maps already (eq. 14)."""
    config = cast(MEMITConfig, context.config)
    weight = config.weight * keys.means.shape[1]
    # What is to be spared counts as the new facts do, so not w times.
    spared = replace(keys, spared=keys.spared / weight**0.5)
    return update_rows(metric_of(context, config, module, spared), keys.means, weight)


compute = jointly(Rule("memit", DEPTHS, balanced))
