"""Fine-tuning of one down projection by Adam on a functional delta: no weight is ever written."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.low_rank import truncated
from ketools.models.batch import Batch
from ketools.models.options import Schedule
from ketools.models.structure import get_module, weight_of
from ketools.models.tail import Change
from ketools.models.targets import Objective, TargetOutcome, minimise

MOST_DENSE = 64 << 20
"""Bytes of a matrix that is stored as it is."""
BOUND = 256
"""The rank to which a larger one is brought; its metadata tells the residual energy."""


def weight_at(context: EditContext, block: int) -> tuple[str, Tensor]:
    """The name of a block's down projection, and its weight `[out, in]` without edits, in fp32."""
    em = context.require_model()
    name = em.structure.blocks[block].down_proj
    return name, weight_of(get_module(em.model, name)).detach().float()


def train(
    method: str,
    context: EditContext,
    batch: Batch,
    block: int,
    schedule: Schedule,
    *,
    linf: float | None = None,
    rank: int | None = None,
) -> Artefact:
    """The change of the block's down projection that makes the batch's target likely.

    `linf` bounds each of its elements; `rank` exports factors of that rank, which a matrix of more than `MOST_DENSE` is
    in any case. Raises `Diverged`.
    """
    name, weight = weight_at(context, block)
    outcome = minimise(
        Objective(context.require_model(), batch, block),
        weight.new_zeros(weight.shape),
        _acting,
        schedule,
        penalty=lambda delta: delta.square().sum(),
        project=_bounded(linf),
        progress=context.progress,
    )
    return _artefact(method, name, outcome, block, rank)


def _acting(delta: Tensor) -> Change:
    return lambda keys: keys @ delta.T


def _bounded(linf: float | None) -> Callable[[Tensor], None] | None:
    """FT-L's constraint: no element of the change beyond the bound."""
    if linf is None:
        return None

    def clamp(delta: Tensor) -> None:
        delta.clamp_(-linf, linf)

    return clamp


def _artefact(method: str, name: str, outcome: TargetOutcome, block: int, rank: int | None) -> Artefact:
    metadata: dict[str, float | int | str] = {
        "layer": block,
        "steps": outcome.steps,
        "nll": outcome.nll,
        "kl": outcome.kl,
    }
    if rank is None and outcome.value.nbytes <= MOST_DENSE:
        return DenseDelta(method, {name: outcome.value}, metadata)
    a, b, residual = truncated(outcome.value, rank or BOUND)
    return LowRankDelta(method, {name: (a, b)}, {**metadata, "residual_energy": residual})
