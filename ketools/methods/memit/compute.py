"""MEMIT's least-squares update."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ketools.methods.base import EditContext
from ketools.methods.located import Rule, jointly
from ketools.methods.memit.config import DEPTHS, MEMITConfig
from ketools.methods.support import covariances_of
from ketools.models.solves import update_rows


def balanced(context: EditContext, module: str, keys: Tensor) -> Tensor:
    """A = K^T (w C + K K^T)^-1 `[n, in]`: new facts against what the module maps already (eq. 14)."""
    config = cast(MEMITConfig, context.config)
    factor = covariances_of(context).factor(context.require_model(), module, config.ridge, context.progress)
    return update_rows(factor, keys, config.weight * keys.shape[1])


compute = jointly(Rule("memit", DEPTHS, balanced))
