"""The model from one block on, replayed on inputs captured once.

An edit of block i leaves everything before its down projection as it was, so an optimisation need not compute
that again at each step. Where the down projection's output is simply added to the block's, block i itself need
not run again either. Both are checked against the model when a tail is built; where a check fails, more of the
model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from ketools.models import hooks
from ketools.models.batch import Batch, Positions, among, by_length
from ketools.models.editable import EditableModel
from ketools.models.keys import read
from ketools.models.structure import get_module

_TOLERANCE = 1e-3

Change = Callable[[Tensor], Tensor]
"""From the keys `[n, t, in]` of a down projection to what is added to its output `[n, t, out]`."""

Changes = Change | Mapping[str, Change]
"""A change of the first block's down projection, or of any linear modules from that block on, by name."""


@dataclass(frozen=True)
class _Group:
    """Rows that run together, cut to the longest of them.

    `inside`: which of the m places that are looked at are among them, and `at` where these are; `calls`: what each
    block is called with.
    """

    rows: Tensor
    width: int
    inside: Tensor
    at: Positions
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)

    def of(self, values: Tensor) -> Tensor:
        """The group's part of values of the batch `[n, t, width]`."""
        return values[self.rows, : self.width]

    def pick(self, values: Tensor) -> Tensor:
        """What stands at the places that are looked at, of values of the group."""
        return values[self.at.rows, self.at.columns]


class Tail:
    """Log probabilities of a batch at given positions when block `start`'s down projection is changed.

    `keys [n, t, in]`: the inputs of that down projection, which no change of its output can move; `owner [n]`: whose
    they are. Behind the last block these are the places that are looked at, `[m, 1, in]`.
    `whole`: whether replaying was not possible.
    Use it in the thread, and under the layer, that it was built in.
    """

    def __init__(self, em: EditableModel, batch: Batch, at: Positions, start: int) -> None:
        self._em, self._batch, self._at = em, batch, at
        self._blocks = em.structure.blocks[start:]
        self._module = self._blocks[0].down_proj
        self._shape = batch.ids.shape
        self._groups: list[_Group] = []
        self._after_first: Tensor | None = None
        self._base: Tensor | None = None
        self.whole = False
        self._picked = len(self._blocks) == 1 and em.replayed.get(start) == (True, True)
        if self._picked:
            self._pass_places()
        else:
            self._pass_all(start)

    def _pass_places(self) -> None:
        """Nothing but the places that are looked at matters, and the batch runs by length."""
        em, first = self._em, self._blocks[0].name
        inputs, outputs = read(em, self._batch, self._at, [self._module], [first, self._module])
        self.keys, self._after_first = inputs[self._module][:, None], outputs[first][:, None]
        self._values = outputs[self._module]
        self.owner = self._batch.owner[self._at.rows]

    def _pass_all(self, start: int) -> None:
        em, first, module = self._em, self._blocks[0].name, self._module
        base: list[Tensor] = []
        for group in self._grouped():
            reading, writing = hooks.capture(em, [module], inputs=True), hooks.capture(em, [first, module])
            with torch.no_grad(), self._recording(group), reading as inputs, writing as outputs:
                base.append(self._run_whole(group))
            read_ = inputs[module], outputs[module], outputs[first]
            if not self._groups:
                keys, values, after_first = (x.new_zeros(*self._shape, x.shape[-1]) for x in read_)
            for whole, part in zip((keys, values, after_first), read_, strict=True):
                whole[group.rows, : group.width] = part
            self._groups.append(group)
        self._base = self._in_order(base).log_softmax(-1)
        # Both depend on the model alone, so they are checked once.
        if start not in em.replayed:
            with torch.no_grad():
                replays = self._replays(self._base)
                em.replayed[start] = replays, replays and self._adds(after_first)
        replays, adds = em.replayed[start]
        self.whole = not replays
        self._picked = adds and len(self._blocks) == 1
        here = self._at.rows, self._at.columns
        self.keys = keys[here][:, None] if self._picked else keys
        self.owner = self._batch.owner[self._at.rows] if self._picked else self._batch.owner
        self._values = values[here] if self._picked else values.flatten(0, 1)
        if adds:
            self._after_first = after_first[here][:, None] if self._picked else after_first

    def _grouped(self) -> Iterator[_Group]:
        lengths = self._batch.mask.sum(1)
        for rows in by_length(lengths, torch.arange(len(lengths), device=lengths.device)):
            yield _Group(rows, int(lengths[rows].max()), *among(rows, self._at))

    def _in_order(self, parts: list[Tensor]) -> Tensor:
        """What was found group by group at the places that are looked at, `[m, ...]`."""
        return torch.cat(parts)[torch.cat([group.inside for group in self._groups]).argsort()]

    @property
    def base(self) -> Tensor:
        """Log probabilities `[m, vocabulary]` without a change; computed when they are first asked for."""
        if self._base is None:
            assert self._after_first is not None, "where all of the model was run, they are known"
            with torch.no_grad():
                self._base = self._head(self._after_first[:, 0]).log_softmax(-1)
        return self._base

    def places(self, at: Positions) -> tuple[Tensor, Tensor]:
        """Where tokens of the batch stand among the keys, counted row by row `[m]`, and which of them do `[m]`."""
        rows, width = self._batch.ids.shape
        places = torch.arange(rows * width, device=at.rows.device).view(rows, width)
        if self._picked:
            picked = torch.arange(len(self._at), device=at.rows.device)
            places = torch.full_like(places, -1).index_put((self._at.rows, self._at.columns), picked)
        found = places[at.rows, at.columns]
        return found, found >= 0

    def values(self, at: Positions) -> Tensor:
        """What the down projection puts out at tokens of the batch, `[m, out]`."""
        places, inside = self.places(at)
        if bool(inside.all()):
            return self._values[places]
        return read(self._em, self._batch, at, outputs=[self._module])[1][self._module]

    def log_probs(self, changes: Changes) -> Tensor:
        """Log probabilities `[m, vocabulary]` with the changes added to the modules' outputs.

        A change of several modules is asked for each group of rows by itself; it may also answer for the whole batch.
        """
        if isinstance(changes, Mapping):
            return self._replayed(changes).log_softmax(-1)
        if self._after_first is None:
            changed = changes(self.keys)
            return self._replayed({self._module: lambda _: changed}).log_softmax(-1)
        hidden = self._after_first + changes(self.keys)
        if self._picked:
            return self._head(hidden[:, 0]).log_softmax(-1)
        return self._in_order(
            [self._run_blocks(group, group.of(hidden), first=1) for group in self._groups]
        ).log_softmax(-1)

    def _replayed(self, changes: Mapping[str, Change]) -> Tensor:
        """The logits `[m, vocabulary]` under the changes."""
        if not self._groups:
            self._record()
        found = []
        for group in self._groups:
            with self._changed(group, changes):
                found.append(self._run_whole(group) if self.whole else self._run_blocks(group))
        return self._in_order(found)

    def _record(self) -> None:
        for group in self._grouped():
            with torch.no_grad(), self._recording(group):
                self._run_whole(group)
            self._groups.append(group)

    def _changed(self, group: _Group, changes: Mapping[str, Change]) -> AbstractContextManager[None]:
        def part(change: Change) -> Change:
            def of_group(x: Tensor) -> Tensor:
                made = change(x)
                return group.of(made) if made.ndim == 3 and made.shape[:2] == self._shape else made

            return of_group

        return hooks.add_output(self._em, {name: part(change) for name, change in changes.items()})

    def _adds(self, output: Tensor) -> bool:
        """Whether a change of the module simply adds to the first block's output `[n, t, hidden]`."""
        group = self._groups[0]
        hidden = _hidden(*group.calls[0])
        probe = torch.linspace(-1, 1, hidden.shape[-1], device=hidden.device) * output.std()
        with self._changed(group, {self._module: lambda _: probe}):
            moved = self._run_block(group, 0, hidden).float()
        return torch.allclose(moved, group.of(output) + probe, rtol=1e-4, atol=_TOLERANCE)

    def _replays(self, base: Tensor) -> bool:
        structure = self._em.structure
        if structure.final_norm is None or any(len(group.calls) != len(self._blocks) for group in self._groups):
            return False
        replayed = self._in_order([self._run_blocks(group) for group in self._groups]).log_softmax(-1)
        return bool((replayed - base).abs().max() < _TOLERANCE)

    def _run_whole(self, group: _Group) -> Tensor:
        """The logits `[k, vocabulary]` where they are read."""
        em, ids, mask = self._em, group.of(self._batch.ids), group.of(self._batch.mask)
        with hooks.head_at(em, group.at.rows, group.at.columns):
            logits: Tensor = em.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        return logits[0].float()

    def _run_block(self, group: _Group, i: int, hidden: Tensor) -> Tensor:
        """The output of the i-th block of the tail for other hidden states `[n, t, hidden]`."""
        block, (args, kwargs) = get_module(self._em.model, self._blocks[i].name), group.calls[i]
        hidden = hidden.to(self._em.model.dtype)
        out = block(*_replace(args, hidden), **_replace_keyword(kwargs, hidden))
        first: Tensor = out[0] if isinstance(out, tuple) else out
        return first

    def _run_blocks(self, group: _Group, hidden: Tensor | None = None, first: int = 0) -> Tensor:
        """The logits `[k, vocabulary]` at the group's places, from what the `first` block is called with."""
        states = _hidden(*group.calls[0]) if hidden is None else hidden
        for i in range(first, len(self._blocks)):
            states = self._run_block(group, i, states)
        return self._head(group.pick(states))

    def _head(self, hidden: Tensor) -> Tensor:
        model, structure = self._em.model, self._em.structure
        assert structure.final_norm is not None
        normed = get_module(model, structure.final_norm)(hidden.to(model.dtype))
        logits: Tensor = get_module(model, structure.lm_head)(normed)
        return logits.float()

    @contextmanager
    def _recording(self, group: _Group) -> Iterator[None]:
        """Keep what each block is called with, in this thread."""
        owner = get_ident()

        def keep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if get_ident() == owner:
                group.calls.append((args, kwargs))

        with ExitStack() as stack:
            for block in self._blocks:
                module = get_module(self._em.model, block.name)
                stack.callback(module.register_forward_pre_hook(keep, with_kwargs=True).remove)
            yield


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    hidden: Tensor = args[0] if args else kwargs["hidden_states"]
    return hidden


def _replace(args: tuple[Any, ...], hidden: Tensor) -> tuple[Any, ...]:
    return (hidden, *args[1:]) if args else ()


def _replace_keyword(kwargs: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
    return {**kwargs, "hidden_states": hidden} if "hidden_states" in kwargs else kwargs
