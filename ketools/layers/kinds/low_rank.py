"""Low-rank weight changes; several of one module compose by concatenation along the rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.layers.artefacts import Artefact, Served
from ketools.layers.changes import ModuleDelta

Factors = Mapping[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class LowRankDelta(Artefact):
    """Per linear module, factors `A [r, in]` and `B [out, r]` in fp32; the weight change is `B @ A`."""

    form: ClassVar[str] = "low_rank"
    vllm: ClassVar[Served] = Served.ADAPTER
    method: str
    factors: Factors
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))

    def tensors(self) -> dict[str, Tensor]:
        """`A:module` and `B:module`."""
        return factor_tensors(self.factors)

    def header(self) -> dict[str, Any]:
        """The metadata."""
        return {"metadata": dict(self.metadata)}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> LowRankDelta:
        """The factors of a file's content."""
        return cls(method, read_factors(tensors), MappingProxyType(header["metadata"]))

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor]) -> None:
        """Both factors of a module are of one rank."""
        check_factors(tensors)

    def changes(self) -> Mapping[str, ModuleDelta]:
        """The factors, as they are."""
        return factor_changes(self.factors)

    def negated(self) -> LowRankDelta:
        """The same with B negated."""
        return replace(self, factors={name: (a, -b) for name, (a, b) in self.factors.items()})


def factor_tensors(factors: Factors) -> dict[str, Tensor]:
    """Factors as a file names them: `A:module` and `B:module`."""
    pairs = factors.items()
    return {f"A:{module}": a for module, (a, _) in pairs} | {f"B:{module}": b for module, (_, b) in pairs}


def read_factors(tensors: Mapping[str, Tensor]) -> Factors:
    """Factors by module, from tensors that a file names so. Raises `KeyError`."""
    modules = sorted(name[2:] for name in tensors if name.startswith("A:"))
    return MappingProxyType({module: (tensors[f"A:{module}"], tensors[f"B:{module}"]) for module in modules})


def check_factors(tensors: Mapping[str, Tensor]) -> None:
    """Raise `InvalidRequest` unless both factors of each module are of one rank."""
    for module, (a, b) in read_factors(tensors).items():
        if len(a) != b.shape[1]:
            raise InvalidRequest(f"The factors of {module} disagree about the rank; send A [r, in], B [out, r].")


def factor_changes(factors: Factors) -> Mapping[str, ModuleDelta]:
    """What factors change."""
    return {name: ModuleDelta(a=a, b=b) for name, (a, b) in factors.items()}


KIND = LowRankDelta
