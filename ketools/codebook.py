"""Codebooks: a change of a module's output that only inputs near a stored key get. Imports torch only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Codebook:
    """`keys [n, in]`, `values [n, out]`, `radius [n, 1]`, all fp32 (Hartvigsen et al., GRACE, section 3).

    An input within the radius of its nearest key (Euclidean) adds that key's value to the module's output; any
    other input adds nothing, bit for bit.
    """

    keys: Tensor
    values: Tensor
    radius: Tensor

    def output(self, x: Tensor) -> Tensor:
        """The change of the output, `[..., out]`, for inputs x `[..., in]`."""
        flat = x.reshape(-1, x.shape[-1]).float()
        far = torch.cdist(flat, self.keys, compute_mode="donot_use_mm_for_euclid_dist")
        distance, nearest = far.min(dim=1)
        inside = distance <= self.radius[nearest, 0]
        change = torch.zeros(len(flat), self.values.shape[1], device=x.device)
        change[inside] = self.values[nearest[inside]]
        return change.to(x.dtype).reshape(*x.shape[:-1], -1)

    def to(self, device: torch.device) -> Codebook:
        """The same codebook on a device."""
        return Codebook(self.keys.to(device), self.values.to(device), self.radius.to(device))

    def tensors(self) -> dict[str, Tensor]:
        """Its parts by letter, as files name them."""
        return {"K": self.keys, "V": self.values, "R": self.radius}


def joined(books: list[Codebook]) -> Codebook | None:
    """The codebook of many edits; the first of equally near keys decides."""
    if not books:
        return None
    return Codebook(*(torch.cat(parts) for parts in zip(*(b.tensors().values() for b in books), strict=True)))
