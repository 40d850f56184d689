"""The contract of artefacts, what methods produce: immutable, named by their content hash (`ketools.layers.store`).

A kind of artefact is a class in a file of its own: under `ketools/layers/kinds/`, or in another package with an entry
point in the group `ketools.artefacts` whose name is the kind's `form`. Nothing else of ketools knows it by name.
Importing this imports no torch.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from ketools.core.requests import EditRequest

if TYPE_CHECKING:
    from torch import Tensor

    from ketools.layers.changes import ModuleDelta


class Acts(StrEnum):
    """When an artefact acts."""

    ALWAYS = "always"
    PROMPT = "prompt"
    """It is written into prompts that ask for its fact, and changes no weights."""
    ROUTE = "route"
    """Its changes act on requests that ask for its fact."""


class Served(StrEnum):
    """How vLLM serves the artefacts of a kind."""

    PROMPT = "prompt"
    ADAPTER = "adapter"
    """As a change of weights, composed with others into an adapter, or held in the weights themselves."""
    HOOK = "hook"
    """As codebooks, which travel with an adapter."""
    ROUTE = "route"
    """As an adapter for the requests that ask for it."""
    NOT = "not"


class Artefact(ABC):
    """What a method makes of one request. A subclass is a frozen dataclass, and says all there is to say of its kind.

    `form`: the kind's name, in files and in the journal. To take an edit off alone, its space's layer is composed
    without it; so an artefact holds what its own edit changes, and nothing of another's.
    """

    __slots__ = ()
    form: ClassVar[str]
    acts: ClassVar[Acts] = Acts.ALWAYS
    vllm: ClassVar[Served] = Served.NOT
    method: str

    def tensors(self) -> dict[str, Tensor]:
        """What its file holds, float32 matrices by name."""
        return {}

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """What its file holds besides tensors and method, as plain JSON."""

    @classmethod
    @abstractmethod
    def read(cls, method: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The artefact of a file's content. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""

    @classmethod
    def check(cls, tensors: Mapping[str, Tensor]) -> None:
        """Raise `InvalidRequest` or `KeyError` unless these finite float32 matrices can be its content."""
        return

    def changes(self) -> Mapping[str, ModuleDelta]:
        """What it changes, by the name of a linear module or a block; `ModuleDelta` says how several compose."""
        return MappingProxyType({})

    def negated(self) -> Self:
        """The artefact that takes this one's weight change away; of kinds that vLLM serves as adapters."""
        raise NotImplementedError(f"{self.form} is no change of weights")


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """The request of an erasure, encrypted: what brings it into scope cannot be read without the journal's secret."""

    text: str

    def opened(self, unseal: Callable[[str], str]) -> EditRequest:
        """The request. Raises what `unseal` raises."""
        return EditRequest.model_validate_json(unseal(self.text))


class Scoped(Artefact):
    """An artefact that acts only on requests in the scope of its `request`; that of an erasure is sealed in files."""

    __slots__ = ()
    request: EditRequest | SealedRequest

    def of(self, request: SealedRequest) -> Self:
        """The same, with a sealed request."""
        return cast(Self, replace(cast(Any, self), request=request))

    def request_header(self) -> dict[str, Any]:
        """The request or its seal, for `header`."""
        if isinstance(self.request, SealedRequest):
            return {"sealed": self.request.text}
        return {"request": self.request.model_dump(mode="json")}

    @staticmethod
    def read_request(header: Mapping[str, Any]) -> EditRequest | SealedRequest:
        """What `request_header` wrote."""
        sealed = header.get("sealed")
        return SealedRequest(str(sealed)) if sealed else EditRequest.model_validate(header["request"])


def hash_of(artefacts: Iterable[str]) -> str:
    """Content hash (hex, 32 digits) of a layer, from its artefacts' hashes in order: edits' ids play no part."""
    digest = hashlib.sha256()
    for name in artefacts:
        digest.update(name.encode() + b"\n")
    return digest.hexdigest()[:32]
