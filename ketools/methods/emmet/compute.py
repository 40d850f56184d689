"""EMMET's equality-constrained update."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from ketools.methods.base import EditContext
from ketools.methods.emmet.config import DEPTH, EMMETConfig
from ketools.methods.located import Rule, jointly
from ketools.methods.support import metric_of
from ketools.models.keys import Keys
from ketools.models.solves import update_rows


def exact(context: EditContext, module: str, keys: Keys) -> Tensor:
    """A = (K^T C^-1 K)^-1 K^T C^-1 `[n, in]`, so that A K = I (eq. 9)."""
    return update_rows(metric_of(context, cast(EMMETConfig, context.config), module, keys), keys.means, 0.0)


compute = jointly(Rule("emmet", (DEPTH, DEPTH), exact))
