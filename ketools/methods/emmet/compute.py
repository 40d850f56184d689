"""EMMET's equality-constrained update."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ketools.methods.base import EditContext
from ketools.methods.emmet.config import DEPTH, EMMETConfig
from ketools.methods.located import Rule, jointly
from ketools.methods.support import covariances_of
from ketools.models.solves import update_rows


def exact(context: EditContext, module: str, keys: Tensor) -> Tensor:
    """A = (K^T C^-1 K)^-1 K^T C^-1 `[n, in]`, so that A K = I (eq. 9)."""
    config = cast(EMMETConfig, context.config)
    factor = covariances_of(context).factor(context.require_model(), module, config.ridge, context.progress)
    return update_rows(factor, keys, 0.0)


compute = jointly(Rule("emmet", (DEPTH, DEPTH), exact))
