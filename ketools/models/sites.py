"""Where an edit acts: the tokens at which its values stand.

Locate-then-edit was made for models that gather a fact at its subject's last token. Others carry the subject to the
prompt's end first and recall the fact there; causal tracing tells which (`ketools locate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.models.batch import Batch, Positions
from ketools.models.options import FactToken


@dataclass(frozen=True)
class Sites:
    """The m tokens of a batch at which values stand, and which of a request's values stands at each.

    `owner [m]`: the request; `slot [m]`: its value, counted from 0; `slots [requests]`: how many values each has.
    `edit [m]`: whether the token is in a context of the edit, rather than in a prompt to preserve.
    """

    at: Positions
    owner: Tensor
    slot: Tensor
    slots: Tensor
    edit: Tensor

    @property
    def widest(self) -> int:
        """The most values of one request."""
        return int(self.slots.max())

    @property
    def padded(self) -> Tensor:
        """The value of each token `[m]` among `requests * widest`."""
        return self.owner * self.widest + self.slot

    @property
    def flat(self) -> Tensor:
        """The value of each token `[m]` among all values, request by request."""
        return (self.slots.cumsum(0) - self.slots)[self.owner] + self.slot

    def means(self, values: Tensor) -> Tensor:
        """The mean over each value's tokens in contexts of the edit: `[m, width]` to `[all values, width]`."""
        where = self.flat[self.edit]
        sums = values.new_zeros(int(self.slots.sum()), values.shape[1]).index_add(0, where, values[self.edit])
        return sums / torch.bincount(where, minlength=len(sums))[:, None]


def sites_of(batch: Batch, token: FactToken) -> Sites:
    """Where the values of a batch's requests stand.

    `subject_last`: one value each, at the subject's last token of every row that names it. `prompt_last`: one for each
    different token of the target, where it is predicted; the end of a sentence and that of a turn are two.
    """
    if token == "subject_last":
        rows = batch.subject.rows
        one = torch.ones(batch.requests, dtype=torch.long, device=rows.device)
        return Sites(batch.subject, batch.owner[rows], torch.zeros_like(rows), one, rows < batch.contexts)
    rows, columns = batch.target.rows, batch.target.columns
    first = columns.new_full((len(batch.ids),), batch.ids.shape[1]).scatter_reduce(0, rows, columns, "amin")
    owner = batch.owner[rows]
    said = zip(owner.tolist(), (columns - first[rows]).tolist(), batch.target_ids.tolist(), strict=True)
    known: list[dict[tuple[int, int], int]] = [{} for _ in range(batch.requests)]
    slot = [known[i].setdefault((place, token_id), len(known[i])) for i, place, token_id in said]
    return Sites(
        batch.target,
        owner,
        torch.tensor(slot, device=rows.device),
        torch.tensor([len(values) for values in known], device=rows.device),
        torch.ones_like(rows, dtype=torch.bool),
    )
