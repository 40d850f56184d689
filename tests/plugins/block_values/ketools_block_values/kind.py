"""A kind of artefact whose effect replaces the output of a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from ketools.layers.artefacts import Artefact
from ketools.layers.changes import ModuleDelta
from ketools.layers.codebook import Codebook, read_codebooks
from ketools.layers.effects import Effect


@dataclass(frozen=True, eq=False)
class Replacement(Effect):
    """Values that stand in the place of outputs where inputs are near keys."""

    book: Codebook

    @property
    def sizes(self) -> tuple[int, int]:
        return self.book.sizes

    def tensors(self) -> Mapping[str, Tensor]:
        return self.book.tensors()

    def to(self, device: torch.device) -> Replacement:
        return Replacement(self.book.to(device))

    @classmethod
    def joined(cls, effects: Sequence[Replacement]) -> Replacement:
        return cls(Codebook.joined([effect.book for effect in effects]))

    def replaced(self, x: Tensor, output: Tensor) -> Tensor:
        nearest, inside = self.book.nearest(x)
        return torch.where(inside[..., None], self.book.values[nearest].to(output), output)


@dataclass(frozen=True, slots=True)
class BlockValues(Artefact):
    """Per block, keys `[n, hidden]`, values `[n, hidden]` and radii `[n, 1]`."""

    form: ClassVar[str] = "block_values"
    method: str
    books: Mapping[str, Codebook]

    def tensors(self) -> dict[str, Tensor]:
        return {f"{part}:{block}": t for block, book in self.books.items() for part, t in book.tensors().items()}

    def header(self) -> dict[str, Any]:
        return {}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> BlockValues:
        return cls(method, MappingProxyType(read_codebooks(tensors)))

    def changes(self) -> Mapping[str, ModuleDelta]:
        return {block: ModuleDelta(effects=(Replacement(book),)) for block, book in self.books.items()}
