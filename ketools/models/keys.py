"""Keys and values: what a down projection reads and writes at the subject's last token (ROME, 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ketools.models import hooks
from ketools.models.batch import Batch
from ketools.models.editable import EditableModel


def subject_keys(em: EditableModel, module: str, batch: Batch) -> tuple[Tensor, Tensor]:
    """Keys k `[m, in]` and values W k + b `[m, out]` at the subject's last token in the m rows that name it.

    One forward pass; the values are those of the weight under the layer in use.
    """
    reading, writing = hooks.capture(em, [module], inputs=True), hooks.capture(em, [module])
    with torch.no_grad(), reading as inputs, writing as outputs:
        em.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)
    rows, columns = batch.subject.rows, batch.subject.columns
    return inputs[module][rows, columns], outputs[module][rows, columns]


def mean_key(keys: Tensor, rows: Tensor, contexts: int) -> Tensor:
    """k* `[in]`: the mean key over the rows that are contexts of the edit (ROME, eq. 3).

    `keys [m, in]` belong to the batch's rows `rows [m]`; the first `contexts` rows are the edit's.
    """
    return keys[rows < contexts].mean(0)
