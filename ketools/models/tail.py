"""The model from one block on, replayed on inputs captured once.

An edit of block i leaves everything before its down projection as it was, so an optimisation need not compute
that again at each step. Where the down projection's output is simply added to the block's, block i itself need
not run again either. Both are checked against the model when a tail is built; where a check fails, more of the
model is run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor

from ketools.models import hooks
from ketools.models.batch import Batch, Positions
from ketools.models.editable import EditableModel
from ketools.models.keys import read
from ketools.models.structure import get_module

_TOLERANCE = 1e-3

Change = Callable[[Tensor], Tensor]
"""From the keys `[n, t, in]` of a down projection to what is added to its output `[n, t, out]`."""

Changes = Change | Mapping[str, Change]
"""A change of the first block's down projection, or of any linear modules from that block on, by name."""


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
        self._calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
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
        em, first = self._em, self._blocks[0].name
        reading, writing = hooks.capture(em, [self._module], inputs=True), hooks.capture(em, [first, self._module])
        with torch.no_grad():
            with self._recording(), reading as inputs, writing as outputs:
                base = self._run_whole().log_softmax(-1)
            self.keys = inputs[self._module]
            values = outputs[self._module]
            # Both depend on the model alone, so they are checked once.
            if start not in em.replayed:
                replays = self._replays(base)
                em.replayed[start] = replays, replays and self._adds(outputs[first])
        self._base = base
        replays, adds = em.replayed[start]
        self.whole = not replays
        self._after_first = outputs[first] if adds else None
        self._values = values.flatten(0, 1)
        self.owner = self._batch.owner
        self._picked = self._after_first is not None and len(self._blocks) == 1
        if self._picked and self._after_first is not None:
            self.keys, self._after_first = self._pick(self.keys)[:, None], self._pick(self._after_first)[:, None]
            self._values = self._pick(values)
            self.owner = self._batch.owner[self._at.rows]

    @property
    def base(self) -> Tensor:
        """Log probabilities `[m, vocabulary]` without a change; computed when they are first asked for."""
        if self._base is None:
            assert self._after_first is not None, "where all of the model was run, they are known"
            with torch.no_grad():
                self._base = self._run_blocks(self._after_first, first=1, picked=True).log_softmax(-1)
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
        """Log probabilities `[m, vocabulary]` with the changes added to the modules' outputs."""
        if isinstance(changes, Mapping):
            self._require_calls()
            with hooks.add_output(self._em, changes):
                logits = self._replayed()
        elif self._after_first is not None:
            logits = self._run_blocks(self._after_first + changes(self.keys), first=1, picked=self._picked)
        else:
            with self._changed(changes):
                logits = self._replayed()
        return logits.log_softmax(-1)

    def _require_calls(self) -> None:
        if not self._calls:
            with torch.no_grad(), self._recording():
                self._run_whole()

    def _replayed(self) -> Tensor:
        return self._run_whole() if self.whole else self._run_blocks(_hidden(*self._calls[0]))

    def _changed(self, change: Change) -> AbstractContextManager[None]:
        # Before the places are picked, or where they are not.
        return hooks.edit_output(self._em, self._module, lambda out: hooks.plus(out, change(self.keys)))

    def _adds(self, output: Tensor) -> bool:
        """Whether a change of the module simply adds to the first block's output `[n, t, hidden]`."""
        hidden = _hidden(*self._calls[0])
        probe = torch.linspace(-1, 1, hidden.shape[-1], device=hidden.device) * output.std()
        with self._changed(lambda keys: probe):
            moved = self._run_block(0, hidden)
        return torch.allclose(moved, output + probe, rtol=1e-4, atol=_TOLERANCE)

    def _replays(self, base: Tensor) -> bool:
        if self._em.structure.final_norm is None or len(self._calls) != len(self._blocks):
            return False
        replayed = self._run_blocks(_hidden(*self._calls[0])).log_softmax(-1)
        return bool((replayed - base).abs().max() < _TOLERANCE)

    def _run_whole(self) -> Tensor:
        """The logits `[m, vocabulary]`; the head, the dearest part of a small model, runs only where they are read."""
        em, batch = self._em, self._batch
        with hooks.edit_input(em, em.structure.lm_head, lambda hidden: self._pick(hidden)[None]):
            logits: Tensor = em.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits
        return logits[0]

    def _run_block(self, i: int, hidden: Tensor) -> Tensor:
        """The output of the i-th block of the tail for other hidden states `[n, t, hidden]`."""
        block, (args, kwargs) = get_module(self._em.model, self._blocks[i].name), self._calls[i]
        out = block(*_replace(args, hidden), **_replace_keyword(kwargs, hidden))
        first: Tensor = out[0] if isinstance(out, tuple) else out
        return first

    def _run_blocks(self, hidden: Tensor, first: int = 0, picked: bool = False) -> Tensor:
        model, structure = self._em.model, self._em.structure
        for i in range(first, len(self._blocks)):
            hidden = self._run_block(i, hidden)
        assert structure.final_norm is not None
        normed = get_module(model, structure.final_norm)(hidden[:, 0] if picked else self._pick(hidden))
        logits: Tensor = get_module(model, structure.lm_head)(normed)
        return logits

    def _pick(self, values: Tensor) -> Tensor:
        return values[self._at.rows, self._at.columns]

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Keep what each block is called with, in this thread."""
        owner = get_ident()

        def keep(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if get_ident() == owner:
                self._calls.append((args, kwargs))

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
