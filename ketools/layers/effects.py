"""What artefacts do to the output of a module or a block beside changes of weights. Imports torch only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor


class Effect(ABC):
    """Adds to an output, or puts something in its place; immutable.

    Of several effects of one class on one module, `joined` makes one. Effects of different classes all act: what they
    add is added first, then each replaces what the ones before it left.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """(in, out) of the module or block."""

    @abstractmethod
    def tensors(self) -> Mapping[str, Tensor]:
        """Its parts by letter, as files name them."""

    @abstractmethod
    def to(self, device: torch.device) -> Self:
        """The same effect on a device; itself when it is there."""

    @classmethod
    @abstractmethod
    def joined(cls, effects: Sequence[Self]) -> Self:
        """One effect for many edits', the newest last; some may have been joined before."""

    def output(self, x: Tensor) -> Tensor | None:
        """What is added to the output, `[..., out]`, for inputs x `[..., in]`; None where nothing ever is."""
        return None

    def replaced(self, x: Tensor, output: Tensor) -> Tensor:
        """What stands in the place of the output, `[..., out]`."""
        return output
