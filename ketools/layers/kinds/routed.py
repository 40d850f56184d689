"""Low-rank weight changes that act on the requests that ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Acts, Scoped, SealedRequest, Served
from ketools.layers.changes import ModuleDelta
from ketools.layers.kinds.low_rank import Factors, check_factors, factor_changes, factor_tensors, read_factors


@dataclass(frozen=True, slots=True)
class RoutedDelta(Scoped):
    """A low-rank delta that acts only while a request asks for the fact of `request`; factors as in `LowRankDelta`.

    Which requests ask for it is decided per request by the scope of notes (`ketools.notes`).
    """

    form: ClassVar[str] = "routed"
    acts: ClassVar[Acts] = Acts.ROUTE
    vllm: ClassVar[Served] = Served.ROUTE
    method: str
    request: EditRequest | SealedRequest
    factors: Factors
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))

    def tensors(self) -> dict[str, Tensor]:
        """`A:module` and `B:module`."""
        return factor_tensors(self.factors)

    def header(self) -> dict[str, Any]:
        """The metadata and the request, or its seal."""
        return {"metadata": dict(self.metadata), **self.request_header()}

    @classmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> RoutedDelta:
        """The delta of a file's content."""
        return cls(method, cls.read_request(header), read_factors(tensors), MappingProxyType(header["metadata"]))

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor]) -> None:
        """Both factors of a module are of one rank."""
        check_factors(tensors)

    def changes(self) -> Mapping[str, ModuleDelta]:
        """The factors, as they are."""
        return factor_changes(self.factors)


KIND = RoutedDelta
