"""The edit layer: the live edits of one version of one space chain, composed (see `ketools.layers.changes`).

Base weights are never touched, so taking every edit off gives the base model bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import cast

import torch

from ketools.layers.artefacts import Acts, Artefact, Scoped, Served, hash_of
from ketools.layers.changes import ModuleDelta, compose


@dataclass(frozen=True, slots=True)
class LiveEdit:
    """An artefact that is live in a layer, under the edit's id and the artefact's content hash."""

    edit_id: str
    artefact_hash: str
    artefact: Artefact = field(compare=False)


@dataclass(frozen=True)
class EditLayer:
    """Immutable and compiled lazily; two layers of the same edits in the same order have the same hash.

    `active`: ids of the routed edits that act; the others change nothing.
    """

    edits: tuple[LiveEdit, ...] = ()
    active: frozenset[str] = frozenset()
    _below: EditLayer | None = field(default=None, compare=False, repr=False)
    """A composed layer that this one adds edits to; let go of once this one is composed."""

    @cached_property
    def hash(self) -> str:
        """Content hash (hex, 32 digits) of what is live: ids play no part, artefacts and order do."""
        acting = (f"active {edit.artefact_hash}" for edit in self._acting)
        return hash_of([*(edit.artefact_hash for edit in self.edits), *acting])

    @cached_property
    def delta_hash(self) -> str:
        """Content hash of what changes weights, active routed edits included; empty when nothing does."""
        changing = [*self._always_hashes, *(edit.artefact_hash for edit in self._acting)]
        return hashlib.sha256("\n".join(changing).encode()).hexdigest() if changing else ""

    @cached_property
    def _always_hashes(self) -> tuple[str, ...]:
        return tuple(edit.artefact_hash for edit in self.edits if edit.artefact.acts is Acts.ALWAYS)

    @cached_property
    def _acting(self) -> tuple[LiveEdit, ...]:
        return tuple(edit for edit in self.edits if edit.edit_id in self.active) if self.active else ()

    @cached_property
    def notes(self) -> tuple[tuple[str, Scoped], ...]:
        """The live notes as (edit id, note), oldest first."""
        return tuple((edit_id, made) for edit_id, made in self.scoped if made.acts is Acts.PROMPT)

    @cached_property
    def scoped(self) -> tuple[tuple[str, Scoped], ...]:
        """The live notes and routed deltas as (edit id, artefact), oldest first."""
        return tuple((e.edit_id, cast(Scoped, e.artefact)) for e in self.edits if e.artefact.acts is not Acts.ALWAYS)

    def activate(self, edit_ids: Iterable[str]) -> EditLayer:
        """This layer with these routed edits acting, and no others; kept, as the same few sets are asked for often."""
        wanted = frozenset(edit_ids)
        return self if wanted == self.active else self._activated(wanted)

    @cached_property
    def _activated(self) -> Callable[[frozenset[str]], EditLayer]:
        return lru_cache(ACTIVATIONS)(self._activation)

    def _activation(self, wanted: frozenset[str]) -> EditLayer:
        layer = EditLayer(self.edits, wanted)
        if not self.active:  # the parts that every activation shares
            layer.__dict__["_always_hashes"] = self._always_hashes
            layer.__dict__["_always"] = self._always
        return layer

    @cached_property
    def deltas(self) -> Mapping[str, ModuleDelta]:
        """The composed delta per linear module name; empty when no edit changes weights."""
        acting = [edit.artefact for edit in self._acting]
        return MappingProxyType(compose(acting, self._always)) if acting else self._always

    @cached_property
    def _always(self) -> Mapping[str, ModuleDelta]:
        """The composed delta of the edits that act on every request."""
        done, start = (len(self._below.edits), self._below._always) if self._below else (0, {})
        object.__setattr__(self, "_below", None)
        always = [e.artefact for e in self.edits[done:] if e.artefact.acts is not Acts.ROUTE]
        return MappingProxyType(compose(always, start))

    @cached_property
    def _placed(self) -> dict[torch.device, Mapping[str, ModuleDelta]]:
        return {}

    def deltas_on(self, device: torch.device) -> Mapping[str, ModuleDelta]:
        """`deltas` with their matrices on a device; moved once and kept as long as the layer."""
        if device not in self._placed:
            self._placed[device] = {name: delta.to(device) for name, delta in self.deltas.items()}
        return self._placed[device]

    def with_edits(self, *edits: LiveEdit) -> EditLayer:
        """This layer with more edits on top."""
        return EditLayer((*self.edits, *edits), self.active, self if "_always" in self.__dict__ else None)

    def beyond(self, held: EditLayer) -> EditLayer:
        """What is left to add where `held` is in the weights already: the other edits, less what only it has.

        `held + beyond(held)` changes the weights as this layer does. Effects are no part of weights.
        """
        if not held.edits:
            return self
        left = Counter(e.artefact_hash for e in held.edits)
        more: list[LiveEdit] = []
        for edit in self.edits:
            if not _changes_weights(edit) or not left[edit.artefact_hash]:
                more.append(edit)
            else:
                left[edit.artefact_hash] -= 1
        less = []
        for edit in held.edits:
            if _changes_weights(edit) and left[edit.artefact_hash]:
                left[edit.artefact_hash] -= 1
                less.append(_negated(edit))
        return EditLayer((*more, *less), self.active)

    def without(self, *edit_ids: str) -> EditLayer:
        """This layer recomposed without some edits: the undo of any edit, not only of the last."""
        gone = frozenset(edit_ids)
        return EditLayer(tuple(e for e in self.edits if e.edit_id not in gone), self.active - gone)


ACTIVATIONS = 256
"""How many sets of acting routed edits a layer keeps composed."""

BASE = EditLayer()
"""The untouched model."""


def by_delta(layers: Sequence[EditLayer]) -> list[tuple[EditLayer, list[int]]]:
    """The layers that change weights differently, each with the positions in `layers` of those that change them so."""
    groups: dict[str, tuple[EditLayer, list[int]]] = {}
    for i, layer in enumerate(layers):
        groups.setdefault(layer.delta_hash, (layer, []))[1].append(i)
    return list(groups.values())


def _changes_weights(edit: LiveEdit) -> bool:
    return edit.artefact.vllm is Served.ADAPTER


def _negated(edit: LiveEdit) -> LiveEdit:
    """The edit that takes this one's weight change away."""
    return replace(edit, artefact_hash=f"-{edit.artefact_hash}", artefact=edit.artefact.negated())
