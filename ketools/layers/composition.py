"""The edit layer: the live edits of one version of one space chain, composed.

Low-rank factors of many edits compose by concatenation along the rank, until a matrix is the cheaper form; dense
deltas by addition. Base weights are never touched, so taking every edit off gives the base model bit for bit.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from types import MappingProxyType

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.layers.artefacts import Artefact, DenseDelta, HookState, LowRankDelta, Note, RoutedDelta, Scoped, hash_of
from ketools.layers.codebook import Codebook, joined


@dataclass(frozen=True, slots=True)
class LiveEdit:
    """An artefact that is live in a layer, under the edit's id and the artefact's content hash."""

    edit_id: str
    artefact_hash: str
    artefact: Artefact = field(compare=False)


@dataclass(frozen=True, eq=False)
class ModuleDelta:
    """What one linear module adds to its output for input x: `(x @ A.T) @ B.T + x @ D.T + codebook(x)`.

    `a [R, in]`, `b [out, R]` (R = sum of the edits' ranks) or None; `dense [out, in]` or None; at least
    one of the two forms is there (zero factors beside a mere codebook).
    """

    a: Tensor | None = None
    b: Tensor | None = None
    dense: Tensor | None = None
    codebook: Codebook | None = None

    @property
    def sizes(self) -> tuple[int, int]:
        """(in, out) of the module that this changes."""
        if self.dense is not None:
            return self.dense.shape[1], self.dense.shape[0]
        if self.a is None and self.codebook is not None:
            return self.codebook.keys.shape[1], self.codebook.values.shape[1]
        a, b = self.factors()
        return a.shape[1], b.shape[0]

    def output(self, x: Tensor) -> Tensor:
        """The change of the module's output, shape [..., out], for inputs x of shape [..., in]."""
        change = self._low_rank(x) if self.dense is None else x @ self.dense.to(x).T
        if self.dense is not None and self.a is not None:
            change = change + self._low_rank(x)
        return change if self.codebook is None else change + self.codebook.output(x)

    def matrix(self) -> Tensor:
        """The full weight change `[out, in]`, for tests and analyses."""
        if self.a is None and self.dense is not None:
            return self.dense
        a, b = self.factors()
        return b @ a if self.dense is None else b @ a + self.dense

    def to(self, device: torch.device) -> ModuleDelta:
        """The same change with its matrices on a device."""
        a, b, dense = (None if m is None else m.to(device) for m in (self.a, self.b, self.dense))
        return ModuleDelta(a, b, dense, self.codebook.to(device) if self.codebook else None)

    @property
    def finite(self) -> bool:
        """Whether no part holds NaN or infinity."""
        parts = [m for m in (self.a, self.b, self.dense) if m is not None]
        parts += self.codebook.tensors().values() if self.codebook else ()
        return all(bool(torch.isfinite(m).all()) for m in parts)

    def _low_rank(self, x: Tensor) -> Tensor:
        a, b = self.factors()
        return (x @ a.to(x).T) @ b.to(x).T

    def factors(self) -> tuple[Tensor, Tensor]:
        """`a` and `b`, of a change that has them."""
        assert self.a is not None and self.b is not None, "a delta is low-rank, dense or both"
        return self.a, self.b


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
        return tuple(edit.artefact_hash for edit in self.edits if not isinstance(edit.artefact, Note | RoutedDelta))

    @cached_property
    def _acting(self) -> tuple[LiveEdit, ...]:
        return tuple(edit for edit in self.edits if edit.edit_id in self.active) if self.active else ()

    @cached_property
    def notes(self) -> tuple[tuple[str, Note], ...]:
        """The live notes as (edit id, note), oldest first."""
        return tuple((e.edit_id, e.artefact) for e in self.edits if isinstance(e.artefact, Note))

    @cached_property
    def scoped(self) -> tuple[tuple[str, Scoped], ...]:
        """The live notes and routed deltas as (edit id, artefact), oldest first."""
        return tuple((e.edit_id, e.artefact) for e in self.edits if isinstance(e.artefact, Note | RoutedDelta))

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
        always = [e.artefact for e in self.edits[done:] if not isinstance(e.artefact, RoutedDelta)]
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

        `held + beyond(held)` changes the weights as this layer does. Codebooks are no part of weights.
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
    return isinstance(edit.artefact, LowRankDelta | DenseDelta)


def _negated(edit: LiveEdit) -> LiveEdit:
    """The edit that takes this one's weight change away."""
    made = edit.artefact
    if isinstance(made, LowRankDelta):
        factors = {name: (a, -b) for name, (a, b) in made.factors.items()}
        return replace(edit, artefact_hash=f"-{edit.artefact_hash}", artefact=replace(made, factors=factors))
    assert isinstance(made, DenseDelta), "nothing else changes weights"
    deltas = {name: -delta for name, delta in made.deltas.items()}
    return replace(edit, artefact_hash=f"-{edit.artefact_hash}", artefact=replace(made, deltas=deltas))


def compose(
    artefacts: Sequence[Artefact], onto: Mapping[str, ModuleDelta] = MappingProxyType({})
) -> dict[str, ModuleDelta]:
    """Sum the weight changes of many edits, kept factored while that is cheaper; notes change no weights.

    Edits are added in their order, so composing onto what earlier ones came to gives the same bits as all at once.
    Raises `InvalidRequest` when two edits disagree about a module's sizes.
    """
    sums = {name: _Sum(name, delta) for name, delta in onto.items()}
    # Inference tensors could not take part in an editor's backward pass.
    with torch.inference_mode(False), torch.no_grad():
        for name, change in _changes(artefacts):
            if name in sums:
                sums[name].add(change)
            else:
                sums[name] = _Sum(name, change)
        return {name: sums[name].delta() for name in sorted(sums)}


def _changes(artefacts: Iterable[Artefact]) -> Iterator[tuple[str, ModuleDelta]]:
    for artefact in artefacts:
        if isinstance(artefact, LowRankDelta | RoutedDelta):
            for name, (a, b) in artefact.factors.items():
                yield name, ModuleDelta(a=a, b=b)
        elif isinstance(artefact, DenseDelta):
            for name, delta in artefact.deltas.items():
                yield name, ModuleDelta(dense=delta)
        elif isinstance(artefact, HookState):
            for name, book in artefact.codebooks.items():
                yield name, ModuleDelta(codebook=book)


class _Sum:
    """The changes of one module so far. Factors whose ranks outgrow the matrix are multiplied out."""

    def __init__(self, name: str, first: ModuleDelta) -> None:
        self._name = name
        self._a: list[Tensor] = []
        self._b: list[Tensor] = []
        self._dense: Tensor | None = None
        self._books: list[Codebook] = []
        _require_one_size(name, first)
        self._sizes = first.sizes
        self.add(first)

    def add(self, change: ModuleDelta) -> None:
        _require_one_size(self._name, change, self._sizes)
        if change.dense is not None:
            self._dense = change.dense if self._dense is None else self._dense + change.dense
        if change.a is not None and not _fills(change):
            a, b = change.factors()
            self._a.append(a)
            self._b.append(b)
        if change.codebook is not None:
            self._books.append(change.codebook)
        width, out = self._sizes
        if sum(map(len, self._a)) * (width + out) > width * out:
            whole = torch.cat(self._b, dim=1) @ torch.cat(self._a)
            self._dense = whole if self._dense is None else self._dense + whole
            self._a, self._b = [], []

    def delta(self) -> ModuleDelta:
        width, out = self._sizes
        a, b = self._a, self._b
        if not a and self._dense is None:
            book = self._books[0]
            a, b = [book.keys.new_zeros(1, width)], [book.keys.new_zeros(out, 1)]
        return ModuleDelta(
            a=torch.cat(a) if a else None,
            b=torch.cat(b, dim=1) if b else None,
            dense=self._dense,
            codebook=joined(self._books),
        )


def _fills(change: ModuleDelta) -> bool:
    """Whether the factors are the zeros beside a mere codebook."""
    return change.codebook is not None and change.a is not None and len(change.a) == 1 and not change.a.any()


def _require_one_size(name: str, change: ModuleDelta, sizes: tuple[int, int] | None = None) -> None:
    if not _well_formed(change) or (sizes is not None and change.sizes != sizes):
        raise InvalidRequest(
            f"The edits' changes of {name!r} do not have one size; they were made for different models. "
            "Undo the ones that were made for another model."
        )


def _well_formed(change: ModuleDelta) -> bool:
    """Whether every part is a matrix and the ranks of the two factors agree."""
    parts = [part for part in (change.a, change.b, change.dense) if part is not None]
    if any(part.ndim != 2 for part in parts):
        return False
    return change.a is None or change.b is None or change.a.shape[0] == change.b.shape[1]
