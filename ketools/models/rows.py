"""Sequences of tokens beside one another in few rows, what they begin with alike once: less for a model to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import torch
from torch import Tensor

from ketools.models.text import Tokenized, pad

ROW_TOKENS = 96
"""How long a row of unlike sequences may get: attention costs its square, and a beginning is shared within a row only.

As measured for the bundled model; the costs of 64 to 128 tokens differ little.
"""


@dataclass
class Row:
    """Sequences in the order of a walk through the tree of their beginnings.

    `ids`, `positions`: of each column. `ends[j]`: the column behind the last one that goes on from column j.
    `columns[i]`: where the tokens of sequence i stand.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    columns: dict[int, list[int]] = field(default_factory=dict)
    _last: Sequence[int] = ()
    _path: list[int] = field(default_factory=list)

    def takes(self, sequence: Sequence[int]) -> bool:
        """Whether the sequence stands better here than in a row of its own."""
        shared = self._shared(sequence)
        length = len(self.ids) + len(sequence) - shared
        # A long beginning is worth sharing, and the row may get as long as two such sequences.
        return length <= ROW_TOKENS or (2 * shared >= len(sequence) and length <= 2 * len(sequence))

    def add(self, i: int, sequence: Sequence[int]) -> None:
        """Put in sequence i; sequences come in lexicographic order."""
        shared, start = self._shared(sequence), len(self.ids)
        self.ids += sequence[shared:]
        self.positions += range(shared, len(sequence))
        self.ends += [0] * (len(self.ids) - start)
        self._path = [*self._path[:shared], *range(start, len(self.ids))]
        for column in self._path:
            self.ends[column] = len(self.ids)
        self.columns[i], self._last = self._path, sequence

    def _shared(self, sequence: Sequence[int]) -> int:
        return sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(self._last, sequence, strict=False)))


def in_rows(sequences: Sequence[list[int]], share: bool = True) -> list[Row]:
    """Rows that hold each of the sequences once; unless `share`, each in a row of its own."""
    rows: list[Row] = []
    for i in sorted(range(len(sequences)), key=sequences.__getitem__):
        if not share or not rows or not rows[-1].takes(sequences[i]):
            rows.append(Row())
        rows[-1].add(i, sequences[i])
    return rows


def laid_out(em: Tokenized, rows: Sequence[Row], dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """`input_ids`, `attention_mask` and `position_ids` of the rows, padded on the right, on the model's device.

    Ids and positions are `[n, t]`. The mask is `[n, t]` where each row holds one sequence, which every model
    understands; else `[n, 1, t, t]` of 0 where a token sees another, the most negative number of `dtype` elsewhere.
    """
    ids, mask = pad(em, [row.ids for row in rows])
    positions = _padded([row.positions for row in rows], ids)
    if all(len(row.columns) == 1 for row in rows):
        return ids, mask, positions
    at, ends = torch.arange(ids.shape[1], device=em.device), _padded([row.ends for row in rows], ids)
    query, key = at[:, None], at[None, :]
    sees = (key <= query) & (query < ends[:, None, :]) | (key == query)  # padding sees itself, lest there be NaN
    hidden = torch.zeros(sees.shape, dtype=dtype, device=em.device)
    return ids, hidden.masked_fill_(~sees, torch.finfo(dtype).min)[:, None], positions


def _padded(lists: Sequence[list[int]], like: Tensor) -> Tensor:
    width = like.shape[1]
    return torch.tensor([one + [0] * (width - len(one)) for one in lists], device=like.device)
