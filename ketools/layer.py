"""The edit layer: the live edits of one version of one space chain, composed.

Low-rank factors of many edits compose by concatenation along the rank, dense deltas by addition; base
weights are never touched, so taking every edit off gives the base model bit for bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor

from ketools.edits import Artefact, DenseDelta, LowRankDelta, Note


@dataclass(frozen=True, slots=True)
class LiveEdit:
    """An artefact that is live in a layer, under the edit's id and the artefact's content hash."""

    edit_id: str
    artefact_hash: str
    artefact: Artefact


@dataclass(frozen=True)
class ModuleDelta:
    """What one linear module adds to its output for input x: `(x @ A.T) @ B.T + x @ D.T`.

    `a [R, in]`, `b [out, R]` (R = sum of the edits' ranks) or None; `dense [out, in]` or None.
    """

    a: Tensor | None = None
    b: Tensor | None = None
    dense: Tensor | None = None

    def output(self, x: Tensor) -> Tensor:
        """The change of the module's output, shape [..., out], for inputs x of shape [..., in]."""
        change = x.new_zeros(())
        if self.a is not None and self.b is not None:
            change = change + (x @ self.a.to(x.dtype).T) @ self.b.to(x.dtype).T
        if self.dense is not None:
            change = change + x @ self.dense.to(x.dtype).T
        return change

    def matrix(self) -> Tensor:
        """The full weight change `[out, in]`, for tests and analyses."""
        parts = []
        if self.a is not None and self.b is not None:
            parts.append(self.b @ self.a)
        if self.dense is not None:
            parts.append(self.dense)
        return torch.stack(parts).sum(0)


@dataclass(frozen=True)
class EditLayer:
    """Immutable and compiled lazily; two layers of the same edits in the same order have the same hash."""

    edits: tuple[LiveEdit, ...] = ()

    @cached_property
    def hash(self) -> str:
        """Content hash (hex, 32 digits) of what is live: ids play no part, artefacts and order do."""
        digest = hashlib.sha256()
        for edit in self.edits:
            digest.update(edit.artefact_hash.encode() + b"\n")
        return digest.hexdigest()[:32]

    @cached_property
    def notes(self) -> tuple[tuple[str, Note], ...]:
        """The live notes as (edit id, note), oldest first."""
        return tuple((e.edit_id, e.artefact) for e in self.edits if isinstance(e.artefact, Note))

    @cached_property
    def deltas(self) -> Mapping[str, ModuleDelta]:
        """The composed delta per linear module name; empty when no edit changes weights."""
        return MappingProxyType(compose([e.artefact for e in self.edits]))

    def with_edits(self, *edits: LiveEdit) -> EditLayer:
        """This layer with more edits on top."""
        return EditLayer((*self.edits, *edits))

    def without(self, *edit_ids: str) -> EditLayer:
        """This layer recomposed without some edits: the undo of any edit, not only of the last."""
        return EditLayer(tuple(e for e in self.edits if e.edit_id not in edit_ids))


BASE = EditLayer()
"""The untouched model."""


def compose(artefacts: Sequence[Artefact]) -> dict[str, ModuleDelta]:
    """Sum the weight changes of many edits, kept factored where they are."""
    factors: dict[str, list[tuple[Tensor, Tensor]]] = {}
    dense: dict[str, Tensor] = {}
    for artefact in artefacts:
        if isinstance(artefact, LowRankDelta):
            for name, pair in artefact.factors.items():
                factors.setdefault(name, []).append(pair)
        elif isinstance(artefact, DenseDelta):
            for name, delta in artefact.deltas.items():
                dense[name] = dense[name] + delta if name in dense else delta
    out: dict[str, ModuleDelta] = {}
    for name in sorted({*factors, *dense}):
        pairs = factors.get(name)
        out[name] = ModuleDelta(
            a=torch.cat([a for a, _ in pairs]) if pairs else None,
            b=torch.cat([b for _, b in pairs], dim=1) if pairs else None,
            dense=dense.get(name),
        )
    return out
