"""What a module reads and writes where an edit acts: its keys and values (ROME, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.core.footprint import give_back
from ketools.models import hooks
from ketools.models.batch import Batch, Positions, among, by_length
from ketools.models.editable import EditableModel
from ketools.models.options import FactToken
from ketools.models.sites import Sites, sites_of


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
    read_, written, _ = _by_length(em, batch, at, _none_of(at), inputs, outputs)
    return read_, written


def _by_length(
    em: EditableModel,
    batch: Batch,
    at: Positions,
    target: Positions,
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    """What `read` tells of some places, and, with the batch's `target`, each target token's log probability `[k]`.

    The head runs where a target's tokens are predicted; logits are held for one run at a time.
    """
    found: list[tuple[dict[str, Tensor], dict[str, Tensor], Tensor]] = []
    order: list[tuple[Tensor, Tensor]] = []
    lengths = batch.mask.sum(1)
    for rows in by_length(lengths, torch.cat([at.rows, target.rows])):
        (inside, where), (said, heads) = (among(rows, places) for places in (at, target))
        width = int(lengths[rows].max())
        read_, written, logits = _run(em, batch.ids[rows, :width], batch.mask[rows, :width], heads, inputs, outputs)
        here = where.rows, where.columns
        chosen = logits.gather(1, batch.target_ids[said, None])[:, 0] - logits.logsumexp(-1)
        found.append(({n: x[here] for n, x in read_.items()}, {n: x[here] for n, x in written.items()}, chosen))
        order.append((inside, said))
        del read_, written, logits
        if len(rows) * width > _MANY:
            give_back()
    back, said_back = (torch.cat(some).argsort() for some in zip(*order, strict=True))
    return (
        {name: torch.cat([one[0][name] for one in found])[back] for name in inputs},
        {name: torch.cat([one[1][name] for one in found])[back] for name in outputs},
        torch.cat([one[2] for one in found])[said_back],
    )


def _run(
    em: EditableModel, ids: Tensor, mask: Tensor, heads: Positions, inputs: Sequence[str], outputs: Sequence[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
    reading, writing = hooks.capture(em, inputs, inputs=True), hooks.capture(em, outputs)
    with torch.no_grad(), hooks.head_at(em, heads.rows, heads.columns), reading as read_, writing as written:
        logits: Tensor = em.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
    return read_, written, logits.float()


_MANY = 1024
"""Tokens of a run that leaves enough freed memory behind to give back: runs of other sizes would not reuse it."""


def read_keys(
    em: EditableModel, batches: Iterable[Batch], token: FactToken, module: str, state: str | None = None
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
        spared = condensed([spared, found.spared])
        del found
    if len(means) > 1:
        give_back()
    return Keys(torch.cat(means), torch.cat(states), spared)


def _keys_of(em: EditableModel, batch: Batch, token: FactToken, module: str, state: str) -> Keys:
    sites = sites_of(batch, token)
    m, alone = len(sites.at), _preserved(batch, sites, token)
    both = Positions(torch.cat([sites.at.rows, alone.rows]), torch.cat([sites.at.columns, alone.columns]))
    inputs, outputs = read(em, batch, both, [module], [state])
    keys, states = inputs[module], outputs[state]
    means, where = sites.means(keys[:m]), sites.flat[sites.edit]
    differences = (keys[:m][sites.edit] - means[where]) / torch.bincount(where)[where].sqrt()[:, None]
    return Keys(means, sites.means(states[:m]), torch.cat([differences, _per_request(batch, alone, keys[m:])]))


def preserved_keys(em: EditableModel, batch: Batch, token: FactToken, modules: Sequence[str]) -> dict[str, Tensor]:
    """The part of `Keys.spared` that comes from prompts to preserve, by module, under the layer in use."""
    alone = _preserved(batch, sites_of(batch, token), token)
    if not len(alone):
        return {name: torch.zeros(0, em.structure.linear_names[name][0], device=em.device) for name in modules}
    inputs, _ = read(em, batch, alone, modules)
    return {name: condensed([_per_request(batch, alone, keys)]) for name, keys in inputs.items()}


def _preserved(batch: Batch, sites: Sites, token: FactToken) -> Positions:
    elsewhere = ~sites.edit
    at_subjects = Positions(sites.at.rows[elsewhere], sites.at.columns[elsewhere])
    return batch.kept if token == "prompt_last" else at_subjects


def _per_request(batch: Batch, at: Positions, keys: Tensor) -> Tensor:
    """Keys `[m, in]` at those places, scaled so that a request's count 1 together."""
    owner = batch.owner[at.rows]
    return keys / torch.bincount(owner, minlength=batch.requests)[owner].sqrt()[:, None]


def condensed(parts: Sequence[Tensor]) -> Tensor:
    """Rows X with the X^T X of all the parts, no more than there are columns: however many edits, it does not grow."""
    rows = torch.cat([*parts])
    if len(rows) <= rows.shape[1]:
        return rows
    triangle: Tensor = torch.linalg.qr(rows.double(), mode="r").R
    return triangle.to(rows)


def read_targets(em: EditableModel, batch: Batch, modules: Sequence[str] = ()) -> tuple[dict[str, Tensor], Tensor]:
    """What the modules read on the batch, `[n, t, in]`, and the logits `[m, vocabulary]` that predict its targets.

    One forward pass, under the layer in use.
    """
    seen, _, logits = _run(em, batch.ids, batch.mask, batch.target, modules, ())
    return seen, logits


def standing(em: EditableModel, batch: Batch, token: FactToken, state: str) -> tuple[Tensor, Tensor]:
    """How far the requests are: the mean output of a module at each of their values `[values, out]`, as in `Keys`, and
    their `confidences`. One pass, under the layer in use."""
    sites = sites_of(batch, token)
    _, outputs, said = _by_length(em, batch, sites.at, batch.target, (), [state])
    return sites.means(outputs[state]), _least(batch, said)


def confidences(em: EditableModel, batch: Batch) -> Tensor:
    """The smallest probability of a target's token over each request's contexts, `[requests]`; as `standing`."""
    _, _, said = _by_length(em, batch, _none_of(batch.target), batch.target, (), ())
    return _least(batch, said)


def _least(batch: Batch, said: Tensor) -> Tensor:
    """The smallest probability of each request's target tokens `[requests]`, from their log probabilities."""
    return said.new_ones(batch.requests).scatter_reduce(0, batch.owner[batch.target.rows], said.exp(), "amin")


def _none_of(at: Positions) -> Positions:
    return Positions(at.rows[:0], at.columns[:0])
