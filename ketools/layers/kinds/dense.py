"""Full weight changes; several of one module add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from ketools.layers.artefacts import Artefact, Served
from ketools.layers.changes import ModuleDelta


@dataclass(frozen=True, slots=True)
class DenseDelta(Artefact):
    """Per linear module, a full weight change `D [out, in]` in fp32 (fine-tuning)."""

    form: ClassVar[str] = "dense"
    vllm: ClassVar[Served] = Served.ADAPTER
    method: str
    deltas: Mapping[str, Tensor]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))

    def tensors(self) -> dict[str, Tensor]:
        """`D:module`."""
        return {f"D:{module}": delta for module, delta in self.deltas.items()}

    def header(self) -> dict[str, Any]:
        """The metadata."""
        return {"metadata": dict(self.metadata)}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> DenseDelta:
        """The deltas of a file's content."""
        deltas = {name[2:]: tensors[name] for name in sorted(tensors)}
        return cls(method, MappingProxyType(deltas), MappingProxyType(header["metadata"]))

    def changes(self) -> Mapping[str, ModuleDelta]:
        """The deltas, as they are."""
        return {name: ModuleDelta(dense=delta) for name, delta in self.deltas.items()}

    def negated(self) -> DenseDelta:
        """The same with every matrix negated."""
        return replace(self, deltas={name: -delta for name, delta in self.deltas.items()})


KIND = DenseDelta
