"""Changes of modules and blocks, and how those of many edits compose.

Low-rank factors compose by concatenation along the rank, until a matrix is the cheaper form; dense deltas by addition;
effects as their class says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.effects import Effect


@dataclass(frozen=True, eq=False)
class ModuleDelta:
    """What the output of one linear module or block becomes for input x.

    `y + (x @ D.T + (x @ A.T) @ B.T + what the effects add)`, or what an effect puts in its place. `a [R, in]`,
    `b [out, R]` (R = sum of the edits' ranks) or None; `dense [out, in]` or None; at least one part is there. Blocks
    have effects alone.
    """

    a: Tensor | None = None
    b: Tensor | None = None
    dense: Tensor | None = None
    effects: tuple[Effect, ...] = ()

    @property
    def sizes(self) -> tuple[int, int]:
        """(in, out) of what this changes."""
        if self.dense is not None:
            return self.dense.shape[1], self.dense.shape[0]
        if self.a is None and self.effects:
            return self.effects[0].sizes
        a, b = self.factors()
        return a.shape[1], b.shape[0]

    @property
    def changes_weights(self) -> bool:
        """Whether it is more than effects."""
        return self.a is not None or self.dense is not None

    def apply(self, x: Tensor, output: Tensor) -> Tensor:
        """What stands in the place of the output `[..., out]` for inputs x `[..., in]`."""
        output = output + self.output(x)
        for effect in self.effects:
            output = effect.replaced(x, output)
        return output

    def output(self, x: Tensor) -> Tensor:
        """What is added to the output, shape [..., out], for inputs x of shape [..., in]."""
        parts = [] if self.dense is None else [x @ self.dense.to(x).T]
        parts += [] if self.a is None else [self._low_rank(x)]
        parts += [added for effect in self.effects if (added := effect.output(x)) is not None]
        return sum(parts[1:], parts[0]) if parts else x.new_zeros(*x.shape[:-1], self.sizes[1])

    def matrix(self) -> Tensor:
        """The full weight change `[out, in]`; zeros of mere effects."""
        if not self.changes_weights:
            return torch.zeros(self.sizes[::-1])
        if self.a is None and self.dense is not None:
            return self.dense
        a, b = self.factors()
        return b @ a if self.dense is None else b @ a + self.dense

    def to(self, device: torch.device) -> ModuleDelta:
        """The same change with its matrices on a device."""
        a, b, dense = (None if m is None else m.to(device) for m in (self.a, self.b, self.dense))
        return ModuleDelta(a, b, dense, tuple(effect.to(device) for effect in self.effects))

    @property
    def finite(self) -> bool:
        """Whether no part holds NaN or infinity."""
        parts = [m for m in (self.a, self.b, self.dense) if m is not None]
        parts += [tensor for effect in self.effects for tensor in effect.tensors().values()]
        return all(bool(torch.isfinite(m).all()) for m in parts)

    def _low_rank(self, x: Tensor) -> Tensor:
        a, b = self.factors()
        return (x @ a.to(x).T) @ b.to(x).T

    def factors(self) -> tuple[Tensor, Tensor]:
        """`a` and `b`, of a change that has them."""
        assert self.a is not None and self.b is not None, "a change has factors, a dense part or effects"
        return self.a, self.b


def compose(
    artefacts: Sequence[Artefact], onto: Mapping[str, ModuleDelta] = MappingProxyType({})
) -> dict[str, ModuleDelta]:
    """Sum the changes of many edits, weights kept factored while that is cheaper; notes change nothing.

    Edits are added in their order, so composing onto what earlier ones came to gives the same bits as all at once.
    Raises `InvalidRequest` when two edits disagree about a module's sizes.
    """
    sums = {name: _Sum(name, delta) for name, delta in onto.items()}
    # Inference tensors could not take part in an editor's backward pass.
    with torch.inference_mode(False), torch.no_grad():
        for artefact in artefacts:
            for name, change in artefact.changes().items():
                if name in sums:
                    sums[name].add(change)
                else:
                    sums[name] = _Sum(name, change)
        return {name: sums[name].delta() for name in sorted(sums)}


class _Sum:
    """The changes of one module so far. Factors whose ranks outgrow the matrix are multiplied out."""

    def __init__(self, name: str, first: ModuleDelta) -> None:
        self._name = name
        self._a: list[Tensor] = []
        self._b: list[Tensor] = []
        self._dense: Tensor | None = None
        self._effects: dict[type[Effect], list[Effect]] = {}
        _require_one_size(name, first)
        self._sizes = first.sizes
        self.add(first)

    def add(self, change: ModuleDelta) -> None:
        _require_one_size(self._name, change, self._sizes)
        if change.dense is not None:
            self._dense = change.dense if self._dense is None else self._dense + change.dense
        if change.a is not None:
            a, b = change.factors()
            self._a.append(a)
            self._b.append(b)
        for effect in change.effects:
            self._effects.setdefault(type(effect), []).append(effect)
        width, out = self._sizes
        if sum(map(len, self._a)) * (width + out) > width * out:
            whole = torch.cat(self._b, dim=1) @ torch.cat(self._a)
            self._dense = whole if self._dense is None else self._dense + whole
            self._a, self._b = [], []

    def delta(self) -> ModuleDelta:
        return ModuleDelta(
            a=torch.cat(self._a) if self._a else None,
            b=torch.cat(self._b, dim=1) if self._b else None,
            dense=self._dense,
            effects=tuple(kind.joined(effects) for kind, effects in self._effects.items()),
        )


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
