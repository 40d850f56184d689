"""FT-M's weight change, found by Adam on a functional delta: no weight is ever written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor

from ketools.edits import Artefact, DenseDelta, EditRequest, LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.ft_m.config import DEPTH, FTMConfig
from ketools.methods.low_rank import truncated
from ketools.methods.support import batch_of, for_request, one_after_another, resolve_layer
from ketools.models.structure import get_module, weight_of
from ketools.models.tail import Change
from ketools.models.targets import Objective, Outcome, minimise

LONGER = 120
"""Steps when the change is also taught what follows from the fact: several targets at once."""


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One weight change per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), for_request(cast(FTMConfig, context.config), request)
    if request.implied:
        config = config.model_copy(update={"steps": max(config.steps, LONGER)})
    block = resolve_layer(config.layer, len(em.structure.blocks), DEPTH)
    name = em.structure.blocks[block].down_proj
    weight = weight_of(get_module(em.model, name))
    outcome = minimise(
        Objective(em, batch_of(request, context, config, teach_implied=True), block),
        weight.detach().new_zeros(weight.shape),
        _acting,
        config.schedule,
        penalty=lambda delta: delta.square().sum(),
        project=_bounded(config.linf),
        progress=context.progress,
    )
    return _artefact(name, outcome, block, config.rank)


def _acting(delta: Tensor) -> Change:
    return lambda keys: keys @ delta.T


def _bounded(linf: float | None) -> Callable[[Tensor], None] | None:
    """FT-L's constraint: no element of the change beyond the bound."""
    if linf is None:
        return None

    def clamp(delta: Tensor) -> None:
        delta.clamp_(-linf, linf)

    return clamp


def _artefact(name: str, outcome: Outcome, block: int, rank: int | None) -> Artefact:
    metadata: dict[str, float | int | str] = {
        "layer": block,
        "steps": outcome.steps,
        "nll": outcome.nll,
        "kl": outcome.kl,
    }
    if rank is None:
        return DenseDelta("ft-m", {name: outcome.value}, metadata)
    a, b, residual = truncated(outcome.value, rank)
    return LowRankDelta("ft-m", {name: (a, b)}, {**metadata, "residual_energy": residual})
