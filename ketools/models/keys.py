"""Keys and values: what a down projection reads and writes at the subject's last token (ROME, 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ketools.models import hooks
from ketools.models.batch import Batch
from ketools.models.editable import EditableModel


def subject_keys(em: EditableModel, module: str, batch: Batch, state: str | None = None) -> tuple[Tensor, Tensor]:
    """Keys k `[m, in]` and values W k + b `[m, out]` at the subject's last token in the m rows that name it.

    With `state`, that module's outputs there instead of the values. One forward pass, under the layer in use.
    """
    state = state or module
    reading, writing = hooks.capture(em, [module], inputs=True), hooks.capture(em, [state])
    with torch.no_grad(), reading as inputs, writing as outputs:
        em.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    rows, columns = batch.subject.rows, batch.subject.columns
    return inputs[module][rows, columns], outputs[state][rows, columns]


def mean_keys(keys: Tensor, batch: Batch) -> Tensor:
    """k* of each request `[requests, in]`: the mean key over the rows that are its contexts (ROME, eq. 3).

    `keys [m, in]` are those of the batch's subject tokens, as `subject_keys` gives them.
    """
    inside = batch.subject.rows < batch.contexts
    owner = batch.owner[batch.subject.rows[inside]]
    sums = keys.new_zeros(batch.requests, keys.shape[1]).index_add(0, owner, keys[inside])
    return sums / torch.bincount(owner, minlength=batch.requests)[:, None]
