"""Editing many facts at once: values optimised together, then written layer by layer (MEMIT, section 4.3).

MEMIT, EMMET, AlphaEdit and PMET differ in how keys become an update, in what is optimised, and in how the change
is spread over the layers. Each request's part of the joint update is an artefact of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from pydantic import Field
from torch import Tensor

from ketools.edits import Artefact, EditRequest, LowRankDelta
from ketools.layer import LiveEdit
from ketools.methods.base import Compute, EditContext
from ketools.methods.support import (
    Layers,
    LocatedConfig,
    batch_of,
    for_request,
    portion,
    resolve_layers,
    with_covariances,
)
from ketools.models.batch import Batch, chunks, edits_only, merged
from ketools.models.editable import EditableModel
from ketools.models.keys import mean_keys, subject_keys
from ketools.models.targets import Outcome, Schedule, compute_z


class JointConfig(LocatedConfig):
    """`layers`: blocks whose down projections change together; None: the paper's depths, scaled to the model.

    The papers bound the offset by four times the norm of the hidden state; `clamp` is in norms of what the down
    projection puts out, which is several times smaller.
    """

    steps: int = Field(default=40, ge=1, le=500)
    clamp: float = Field(default=12.0, gt=0, le=1000)
    layers: Layers | None = None


@dataclass(frozen=True)
class Rule:
    """What sets one method apart.

    `depths`: first and last block, as shares of the model. `rows(context, module, keys [n, in])`: A `[n, in]`.
    `part(remaining)`: the share of what is missing that a layer writes when so many are left, itself included.
    `attention`: the attention's output is optimised too, and the FFN's own output is what must be reached.
    """

    method: str
    depths: tuple[float, float]
    rows: Callable[[EditContext, str, Tensor], Tensor]
    part: Callable[[int], float] = lambda remaining: 1 / remaining
    attention: bool = False


def jointly(rule: Rule) -> Compute:
    """A computation of all requests at once. It raises `Diverged`, `InvalidRequest`."""

    def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        em, config = context.require_model(), cast(JointConfig, context.config)
        blocks = resolve_layers(config.layers, len(em.structure.blocks), rule.depths)
        context = with_covariances(context, [em.structure.blocks[block].down_proj for block in blocks])
        with em.switch.use(context.layer):
            prepared = _optimised(rule, requests, context, blocks[-1])
        factors = _written(rule, [batch for batch, _ in prepared], _offsets(prepared), context, blocks)
        described = {"layers": ",".join(map(str, blocks))}
        return [
            LowRankDelta(
                rule.method,
                {name: (a[i : i + 1].clone(), b[:, i : i + 1].clone()) for name, (a, b) in factors.items()},
                {**described, "steps": found.steps, "nll": found.nll, "kl": found.kl, "edits": len(requests)},
            )
            for i, (_, found) in enumerate(prepared)
        ]

    return compute


def _offsets(prepared: Sequence[tuple[Batch, Outcome]]) -> Tensor:
    return torch.stack([outcome.value for _, outcome in prepared])


def _optimised(
    rule: Rule, requests: Sequence[EditRequest], context: EditContext, block: int
) -> list[tuple[Batch, Outcome]]:
    """Each request's contexts and the offset `[out]` of its value at the block; many are optimised at once."""
    em, config = context.require_model(), cast(JointConfig, context.config)
    name = em.structure.blocks[block].down_proj
    done: list[tuple[Batch, Outcome]] = []
    for batches, schedule in chunks(em, _with_schedules(requests, context)):
        batch = merged(em, batches)
        _, values = subject_keys(em, name, batch)
        found = compute_z(
            em,
            batch,
            block,
            values,
            schedule,
            clamp=config.clamp,
            attention=rule.attention,
            progress=portion(context.progress, len(done), len(batches), len(requests)),
        )
        done += zip(map(edits_only, batches), found, strict=True)
    return done


def _with_schedules(requests: Sequence[EditRequest], context: EditContext) -> Iterator[tuple[Batch, Schedule]]:
    for request in requests:
        config = for_request(cast(JointConfig, context.config), request)
        yield batch_of(request, context, config), config.schedule


def _written(
    rule: Rule, batches: Sequence[Batch], offsets: Tensor, context: EditContext, blocks: Sequence[int]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors A `[n, in]`, B `[out, n]` per module: each layer writes its part of what is still missing.

    Later layers read keys that the earlier layers' updates have already changed.
    """
    em = context.require_model()
    last = em.structure.blocks[blocks[-1]]
    state = last.down_proj if rule.attention else last.name
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    layer, start = context.layer, None
    for i, block in enumerate(blocks):
        name = em.structure.blocks[block].down_proj
        context.progress(900 + round(100 * i / len(blocks)), 1000, f"writing block {block}")
        with em.switch.use(layer):
            keys, now = _read(em, name, state, batches)
        start = now if start is None else start
        rows = rule.rows(context, name, keys).to(keys)
        missing = (offsets - (now - start)) * rule.part(len(blocks) - i)
        factors[name] = (rows, missing.T)
        made = LowRankDelta(rule.method, {name: factors[name]})
        layer = layer.with_edits(LiveEdit(f"pending-{i}", uuid.uuid4().hex, made))
    return factors


def _read(em: EditableModel, name: str, state: str, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
    """Each request's mean key `[n, in]` and mean state `[n, out]`, many requests in one pass."""
    keys, states = [], []
    for chunk, _ in chunks(em, ((batch, None) for batch in batches)):
        batch = merged(em, chunk)
        seen, reached = subject_keys(em, name, batch, state)
        keys.append(mean_keys(seen, batch))
        states.append(mean_keys(reached, batch))
    return torch.cat(keys), torch.cat(states)
