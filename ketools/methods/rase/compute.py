"""RASE's memory entry: a patch by another method, with the queries at which it is retrieved."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

from torch import Tensor

from ketools.core.errors import Diverged
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.codebook import Codebook
from ketools.layers.composition import LiveEdit
from ketools.layers.kinds.hook import HookState
from ketools.methods.base import EditContext
from ketools.methods.low_rank import truncated
from ketools.methods.profile import parse_config
from ketools.methods.rase.config import RASEConfig
from ketools.methods.registry import get_method
from ketools.methods.routing import routed, routed_batch
from ketools.methods.support import for_request, one_after_another
from ketools.models.batch import Batch
from ketools.models.keys import read_targets


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One patch with its queries per request. Raises `InvalidRequest`, and `Diverged` when a patch that acts only where
    it is retrieved makes the target no more probable."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    config = for_request(cast(RASEConfig, context.config), request)
    editor = get_method(config.editor)
    inner = replace(context, config=parse_config(editor, dict(config.options)))
    (patch,) = editor.compute([request], inner)
    batch = routed_batch(request, context, config)
    state = HookState("rase", _retrieved(_factors(patch, config.rank), batch, context, config.reach))
    before, after = (_likelihood(context, batch, made) for made in (HookState("rase", {}), state))
    if after <= before:
        raise Diverged(
            f"The patch of {config.editor} does not act where it is retrieved (target {before:.3f}, then {after:.3f} "
            "nats per token); raise rank or reach, or choose another editor."
        )
    keys = sum(len(book.keys) for book in state.codebooks.values())
    return replace(state, metadata={"editor": config.editor, "keys": keys, "nll": -after})


def _factors(patch: Artefact, rank: int) -> Mapping[str, tuple[Tensor, Tensor]]:
    """The patch's weight change as factors; a dense one is truncated to the rank."""
    found = patch.changes().items()
    return {
        name: change.factors() if change.dense is None else truncated(change.dense, rank)[:2] for name, change in found
    }


def _retrieved(
    factors: Mapping[str, tuple[Tensor, Tensor]], batch: Batch, context: EditContext, reach: float
) -> dict[str, Codebook]:
    """The patch's codebooks by module, first to last: later modules read what earlier ones already changed."""
    books: dict[str, Codebook] = {}
    for name in context.require_model().structure.linear_names:
        if name in factors:
            inputs, _ = _run(context, batch, HookState("rase", dict(books)), [name])
            books[name] = routed(inputs[name], batch, reach, *factors[name])
    return books


def _likelihood(context: EditContext, batch: Batch, state: HookState) -> float:
    """Mean log probability of the targets' tokens, in nats, with the state on top of the live edits."""
    _, logits = _run(context, batch, state)
    return float(logits.float().log_softmax(-1).gather(1, batch.target_ids[:, None]).mean())


def _run(
    context: EditContext, batch: Batch, state: HookState, modules: Sequence[str] = ()
) -> tuple[dict[str, Tensor], Tensor]:
    """`read_targets` with the state on top of the live edits."""
    em, layer = context.require_model(), context.layer.with_edits(LiveEdit("patch", uuid.uuid4().hex, state))
    with em.switch.use(layer):
        return read_targets(em, batch, modules)
