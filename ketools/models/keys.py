"""What a module reads and writes where an edit acts: its keys and values (ROME, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.models import hooks
from ketools.models.batch import CHUNK_TOKENS, Batch, Positions
from ketools.models.editable import EditableModel
from ketools.models.sites import FactToken, sites_of


@dataclass(frozen=True)
class Keys:
    """What is read for the values of one or many requests.

    `means [values, in]`: k*, the mean key over a value's contexts (ROME, eq. 3); `states [values, out]`: the mean
    output of another module there. `spared [p, in]`: keys at which a change should do nothing: by how much a value's
    keys differ between its contexts (the same change is wanted in all of them), scaled so that those of a value count
    1 together, and the keys of prompts to preserve, scaled so that those of a request do.
    """

    means: Tensor
    states: Tensor
    spared: Tensor


def read(
    em: EditableModel, batch: Batch, at: Positions, inputs: Sequence[str] = (), outputs: Sequence[str] = ()
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What some modules read, `[m, in]`, and what others put out, `[m, out]`, at m places; both by module.

    Under the layer in use. Rows go through the model by length, and the head does not run.
    """
    found: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
    order: list[Tensor] = []
    lengths = batch.mask.sum(1)
    for rows in _by_length(lengths, at.rows):
        place = torch.full((len(lengths),), -1, device=rows.device)
        place[rows] = torch.arange(len(rows), device=rows.device)
        inside = (place[at.rows] >= 0).nonzero()[:, 0]
        where = place[at.rows[inside]], at.columns[inside]
        seen = _run(em, batch, rows, int(lengths[rows].max()), inputs, outputs)
        found.append(({n: x[where] for n, x in seen[0].items()}, {n: x[where] for n, x in seen[1].items()}))
        order.append(inside)
    back = torch.cat(order).argsort()
    return (
        {name: torch.cat([one[0][name] for one in found])[back] for name in inputs},
        {name: torch.cat([one[1][name] for one in found])[back] for name in outputs},
    )


def _run(
    em: EditableModel, batch: Batch, rows: Tensor, width: int, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    headless = hooks.edit_input(em, em.structure.lm_head, lambda hidden: hidden[:1, :1])
    reading, writing = hooks.capture(em, inputs, inputs=True), hooks.capture(em, outputs)
    with torch.no_grad(), headless, reading as read_, writing as written:
        em.model(input_ids=batch.ids[rows, :width], attention_mask=batch.mask[rows, :width], use_cache=False)
    return read_, written


_PADDING = 512
"""Tokens of padding that cost as much as another run of the model."""


def _by_length(lengths: Tensor, wanted: Tensor) -> Iterator[Tensor]:
    """The wanted rows in groups of like length, each of at most `CHUNK_TOKENS` padded tokens."""
    rows = torch.unique(wanted)
    group: list[int] = []
    real = 0
    for row, length in sorted(zip(rows.tolist(), lengths[rows].tolist(), strict=True), key=lambda pair: pair[1]):
        padded = (len(group) + 1) * length
        if group and (padded - real - length > _PADDING or padded > CHUNK_TOKENS):
            yield torch.tensor(group, device=rows.device)
            group, real = [], 0
        group.append(row)
        real += length
    if group:
        yield torch.tensor(group, device=rows.device)


def read_keys(
    em: EditableModel, batches: Sequence[Batch], token: FactToken, module: str, state: str | None = None
) -> Keys:
    """The keys of every value of the batches, one after the other, under the layer in use.

    `state`: the module whose outputs are read along; by default the same.
    """
    means: list[Tensor] = []
    states: list[Tensor] = []
    spared = torch.zeros(0, em.structure.linear_names[module][0], device=em.device)
    for batch in batches:
        found = _keys_of(em, batch, token, module, state or module)
        means.append(found.means)
        states.append(found.states)
        spared = _condensed(torch.cat([spared, found.spared]))
    return Keys(torch.cat(means), torch.cat(states), spared)


def _keys_of(em: EditableModel, batch: Batch, token: FactToken, module: str, state: str) -> Keys:
    sites = sites_of(batch, token)
    m, elsewhere = len(sites.at), ~sites.edit
    alone = batch.kept if token == "prompt_last" else Positions(sites.at.rows[elsewhere], sites.at.columns[elsewhere])
    both = Positions(torch.cat([sites.at.rows, alone.rows]), torch.cat([sites.at.columns, alone.columns]))
    inputs, outputs = read(em, batch, both, [module], [state])
    keys, states = inputs[module], outputs[state]
    means, where = sites.means(keys[:m]), sites.flat[sites.edit]
    differences = (keys[:m][sites.edit] - means[where]) / torch.bincount(where)[where].sqrt()[:, None]
    owner = batch.owner[alone.rows]
    preserved = keys[m:] / torch.bincount(owner, minlength=batch.requests)[owner].sqrt()[:, None]
    return Keys(means, sites.means(states[:m]), torch.cat([differences, preserved]))


def _condensed(rows: Tensor) -> Tensor:
    """Rows X with the same X^T X, no more than there are columns: memory does not grow with the number of edits."""
    if len(rows) <= rows.shape[1]:
        return rows
    triangle: Tensor = torch.linalg.qr(rows.double(), mode="r").R
    return triangle.to(rows)


def read_targets(em: EditableModel, batch: Batch, modules: Sequence[str] = ()) -> tuple[dict[str, Tensor], Tensor]:
    """What the modules read on the batch, `[n, t, in]`, and the logits `[m, vocabulary]` that predict its targets.

    One forward pass, under the layer in use.
    """
    rows, columns = batch.target.rows, batch.target.columns
    # The head is the dearest part of a small model, so it reads these tokens only.
    predicting = hooks.edit_input(em, em.structure.lm_head, lambda hidden: hidden[rows, columns][None])
    with torch.no_grad(), predicting, hooks.capture(em, modules, inputs=True) as seen:
        logits: Tensor = em.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits[0]
    return seen, logits


def confidences(em: EditableModel, batch: Batch) -> Tensor:
    """The smallest probability of a target's token over each request's contexts, `[requests]`; as `read_targets`."""
    _, logits = read_targets(em, batch)
    said = logits.float().log_softmax(-1).gather(1, batch.target_ids[:, None])[:, 0].exp()
    return said.new_ones(batch.requests).scatter_reduce(0, batch.owner[batch.target.rows], said, "amin")
