"""What a method produces: immutable artefacts, named by their content hash (see `ketools.layers.store`).

Importing this imports no torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ketools.core.requests import EditRequest

if TYPE_CHECKING:
    from torch import Tensor

    from ketools.layers.codebook import Codebook


@dataclass(frozen=True, slots=True)
class Note:
    """A fact to be put into the prompt when in scope (ICE, IKE, MemPrompt). No weights change."""

    method: str
    request: EditRequest


@dataclass(frozen=True, slots=True)
class LowRankDelta:
    """Per linear module, factors `A [r, in]` and `B [out, r]` in fp32; the weight change is `B @ A`."""

    method: str
    factors: Mapping[str, tuple[Tensor, Tensor]]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """The request of an erasure, encrypted: what brings it into scope cannot be read without the journal's secret."""

    text: str

    def opened(self, unseal: Callable[[str], str]) -> EditRequest:
        """The request. Raises what `unseal` raises."""
        return EditRequest.model_validate_json(unseal(self.text))


@dataclass(frozen=True, slots=True)
class RoutedDelta:
    """A low-rank delta that acts only while a request asks for the fact of `request`; factors as in `LowRankDelta`.

    Which requests ask for it is decided per request by the scope of notes (`ketools.notes`).
    """

    method: str
    request: EditRequest | SealedRequest
    factors: Mapping[str, tuple[Tensor, Tensor]]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class DenseDelta:
    """Per linear module, a full weight change `D [out, in]` in fp32 (fine-tuning)."""

    method: str
    deltas: Mapping[str, Tensor]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class HookState:
    """Per linear module, a codebook: a change of its output for inputs near stored keys (GRACE and its kin)."""

    method: str
    codebooks: Mapping[str, Codebook]
    metadata: Mapping[str, float | int | str] = field(default_factory=lambda: MappingProxyType({}))


Artefact = Note | LowRankDelta | RoutedDelta | DenseDelta | HookState
Scoped = Note | RoutedDelta
"""Artefacts that act only on requests in the scope of their `request`."""


Phase = Literal["recognition", "association", "mastery"]


FORMS = frozenset({"note", "low_rank", "routed", "dense", "hook"})
"""The kinds of artefacts, as their files name them."""


def hash_of(artefacts: Iterable[str]) -> str:
    """Content hash (hex, 32 digits) of a layer, from its artefacts' hashes in order: edits' ids play no part."""
    digest = hashlib.sha256()
    for name in artefacts:
        digest.update(name.encode() + b"\n")
    return digest.hexdigest()[:32]
