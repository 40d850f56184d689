"""Codebooks: a change of a module's output that only inputs near a stored key get. Imports torch only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from ketools.layers.effects import Effect

CANDIDATES = 8
"""How many keys are measured exactly for each input."""

_DISTANCES = 2**22
"""Distances held at once."""

_TOGETHER = 256
"""Inputs whose blocks are gathered at once."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Low-rank weight changes that keys share: `a [R, in]`, `b [out, R]`, and the ranks of each key, `spans [n, 2]`.

    The block of key i is `b[:, s:e] @ a[s:e]` for `s, e = spans[i]` (Yu et al. 2023, MELO, section 3).
    """

    a: Tensor
    b: Tensor
    spans: Tensor

    def output(self, x: Tensor, key: Tensor) -> Tensor:
        """The changes `[m, out]` of inputs x `[m, in]` by the blocks of their keys, indices `[m]`."""
        few = zip(torch.split(x, _TOGETHER), torch.split(key, _TOGETHER), strict=True)
        return torch.cat([self._output(some, theirs) for some, theirs in few])

    def _output(self, x: Tensor, key: Tensor) -> Tensor:
        first, last = self.spans[key].long().T
        ranks = first[:, None] + torch.arange(int((last - first).max()) if len(key) else 0, device=x.device)
        used, ranks = ranks < last[:, None], ranks.clamp(max=len(self.a) - 1)  # [m, r]
        inner = (self.a[ranks] @ x[:, :, None])[:, :, 0] * used
        changes: Tensor = (inner[:, None] @ self.b.T[ranks])[:, 0]
        return changes


@dataclass(frozen=True, eq=False)
class Codebook(Effect):
    """`keys [n, in]`, `values [n, out]`, `radius [n, 1]`, all fp32 (Hartvigsen et al., GRACE, section 3).

    An input within the radius of its nearest key (Euclidean), of equally near ones the last, adds that key's value to
    the module's output, and what the key's block makes of the input where there are `blocks`; any other input adds
    nothing, bit for bit.
    """

    keys: Tensor
    values: Tensor
    radius: Tensor
    blocks: Blocks | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """(in, out) of the module."""
        return self.keys.shape[1], self.values.shape[1]

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest key of each input `[..., in]`, and whether the input is within its radius; both `[...]`."""
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        # Of thousands of keys not all distances are held at once.
        few = torch.split(flat, max(1, _DISTANCES // max(1, len(self.keys))))
        nearest, inside = (
            torch.cat(found).reshape(x.shape[:-1]) for found in zip(*map(self._nearest, few), strict=True)
        )
        return nearest, inside

    def _nearest(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        near = self._candidates(flat)  # [m, c]
        distance, which = (flat[:, None] - self.keys[near]).norm(dim=-1).min(dim=1)
        nearest = near.gather(1, which[:, None])[:, 0]
        return nearest, distance <= self.radius[nearest, 0]

    def _candidates(self, flat: Tensor) -> Tensor:
        """A few keys for each input `[m, in]`, the last ones first; the nearest is among them.

        A matrix product finds them fast, but not to the last bit, so their distances are measured again.
        """
        apart = torch.addmm(self._squares, flat, self.keys.T, alpha=-2)
        found = apart.topk(min(CANDIDATES, len(self.keys)), largest=False).indices
        return found.sort(dim=1, descending=True).values

    @cached_property
    def _squares(self) -> Tensor:
        return self.keys.square().sum(1)

    def output(self, x: Tensor) -> Tensor:
        """The change of the output, `[..., out]`, for inputs x `[..., in]`."""
        nearest, inside = self.nearest(x)
        chosen = nearest[inside]
        change = torch.zeros(*x.shape[:-1], self.values.shape[1], device=x.device)
        added = self.values[chosen]
        change[inside] = added if self.blocks is None else added + self.blocks.output(x[inside].float(), chosen)
        return change.to(x.dtype)

    def to(self, device: torch.device) -> Codebook:
        """The same codebook on a device; itself when it is there."""
        if self.keys.device == device:
            return self
        return Codebook.of({letter: tensor.to(device) for letter, tensor in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """Its parts by letter, as files name them."""
        parts = {"K": self.keys, "V": self.values, "R": self.radius}
        return (
            parts if self.blocks is None else parts | {"A": self.blocks.a, "B": self.blocks.b, "S": self.blocks.spans}
        )

    @classmethod
    def joined(cls, effects: Sequence[Codebook]) -> Codebook:
        """The codebook of many edits, the newest last: of equally near keys it decides."""
        keys, values = torch.cat([book.keys for book in effects]), torch.cat([book.values for book in effects])
        return cls(keys, values, torch.cat([book.radius for book in effects]), _joined_blocks(effects))

    @staticmethod
    def of(parts: Mapping[str, Tensor]) -> Codebook:
        """The codebook of such parts. Raises `KeyError` when one is missing."""
        blocks = Blocks(parts["A"], parts["B"], parts["S"]) if "S" in parts else None
        return Codebook(parts["K"], parts["V"], parts["R"], blocks)


def read_codebooks(tensors: Mapping[str, Tensor]) -> dict[str, Codebook]:
    """Codebooks by module, from tensors that a file names `letter:module`. Raises `KeyError`."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        letter, _, module = name.partition(":")
        parts.setdefault(module, {})[letter] = tensor
    return {module: Codebook.of(parts[module]) for module in sorted(parts)}


def _joined_blocks(books: Sequence[Codebook]) -> Blocks | None:
    """All blocks side by side, each behind its own keys."""
    if all(book.blocks is None for book in books):
        return None
    found = [book.blocks or _no_blocks(book) for book in books]
    starts = accumulate((len(blocks.a) for blocks in found[:-1]), initial=0)
    spans = [blocks.spans + start for blocks, start in zip(found, starts, strict=True)]
    return Blocks(
        torch.cat([blocks.a for blocks in found]), torch.cat([blocks.b for blocks in found], dim=1), torch.cat(spans)
    )


def _no_blocks(book: Codebook) -> Blocks:
    (n, width), out = book.keys.shape, book.values.shape[1]
    return Blocks(book.keys.new_zeros(0, width), book.keys.new_zeros(out, 0), book.keys.new_zeros(n, 2))
