"""Codebooks; several of one module compose into one, in which the newest of equally near keys decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.layers.artefacts import Artefact, Served
from ketools.layers.changes import ModuleDelta
from ketools.layers.codebook import Codebook, read_codebooks
from ketools.layers.kinds.low_rank import check_factors


@dataclass(frozen=True, slots=True)
class HookState(Artefact):
    """Per linear module, a codebook: a change of its output for inputs near stored keys (GRACE and its kin)."""

    form: ClassVar[str] = "hook"
    vllm: ClassVar[Served] = Served.HOOK
    method: str
    codebooks: Mapping[str, Codebook]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))

    def tensors(self) -> dict[str, Tensor]:
        """`K:module`, and the codebook's other parts by their letters."""
        books = self.codebooks.items()
        return {f"{part}:{module}": tensor for module, book in books for part, tensor in book.tensors().items()}

    def header(self) -> dict[str, Any]:
        """The metadata."""
        return {"metadata": dict(self.metadata)}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> HookState:
        """The codebooks of a file's content."""
        return cls(method, MappingProxyType(read_codebooks(tensors)), MappingProxyType(header["metadata"]))

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor]) -> None:
        """Keys, values and radii are as many, and every span of ranks is one of the blocks'."""
        check_factors(tensors)
        for module, book in read_codebooks(tensors).items():
            if len({len(book.keys), len(book.values), len(book.radius)}) != 1:
                raise InvalidRequest(f"The codebook of {module} needs as many values and radii as keys.")
            if book.blocks is not None and not _are_spans(book.blocks.spans, len(book.keys), len(book.blocks.a)):
                raise InvalidRequest(
                    f"The codebook of {module} needs a first and a last rank of its blocks for each key."
                )

    def changes(self) -> Mapping[str, ModuleDelta]:
        """The codebooks, as they are."""
        return {name: ModuleDelta(effects=(book,)) for name, book in self.codebooks.items()}


def _are_spans(spans: Tensor, keys: int, rank: int) -> bool:
    """Whether there is one for each key, of whole numbers, in order and within the rank."""
    if spans.shape != (keys, 2):
        return False
    first, last = spans.T
    return bool(((first >= 0) & (first <= last) & (last <= rank) & (spans.frac() == 0).all(1)).all())


KIND = HookState
