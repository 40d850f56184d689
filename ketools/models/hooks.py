"""Forward hooks: reading and changing activations, and switching edit layers per request.

Hooks of `capture`, `edit_input`, `edit_output`, `only_at` and `only_until` act only in the thread that opened them, so
an editor may share a model with an engine that serves other threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ketools.core.errors import InvalidRequest
from ketools.layers.changes import ModuleDelta
from ketools.layers.composition import BASE, EditLayer, by_delta
from ketools.models.structure import Structure, get_module


class HasModel(Protocol):
    """Whatever holds a transformers model, such as an `EditableModel`."""

    @property
    def model(self) -> Any: ...


class HasStructure(HasModel, Protocol):
    """A model whose structure is known."""

    @property
    def structure(self) -> Structure: ...


@contextmanager
def capture(em: HasModel, names: Sequence[str], inputs: bool = False) -> Iterator[dict[str, Tensor]]:
    """Collect what the named modules last put out (or took in), each `[batch, tokens, width]` in fp32.

    That is its shape also where a family (OPT) runs its FFN on `[batch * tokens, width]`, if `em` knows its structure.
    Nothing is detached: run under `torch.no_grad()` when no gradient is wanted. Raises `ModelError` for an unknown
    name.
    """
    seen: dict[str, Tensor] = {}
    shape: list[int] = []
    structure: Structure | None = getattr(em, "structure", None)
    owner = get_ident()

    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if get_ident() == owner:
            shape[:] = _first_input(args, kwargs).shape[:2]

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            if get_ident() == owner:
                value = (_first_input(args, kwargs) if inputs else _first(output)).float()
                flat = value.ndim == 2 and len(shape) == 2 and len(value) == shape[0] * shape[1]
                seen[name] = value.view(*shape, -1) if flat else value

        return hook

    with ExitStack() as stack:
        for block in structure.blocks if structure and names else ():
            handle = get_module(em.model, block.name).register_forward_pre_hook(note, with_kwargs=True)
            stack.callback(handle.remove)
        for name in names:
            handle = get_module(em.model, name).register_forward_hook(keep(name), with_kwargs=True)
            stack.callback(handle.remove)
        yield seen


@contextmanager
def edit_output(em: HasModel, name: str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, the named module puts out `fn(output)`; gradients flow through `fn`.

    The output that `fn` sees already holds the delta of the layer in use. Of a tuple, the first
    element is replaced. Raises `ModelError` for an unknown name.
    """
    owner = get_ident()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if get_ident() != owner:
            return None
        if isinstance(output, tuple):
            return (fn(output[0]), *output[1:])
        return fn(output)

    handle = get_module(em.model, name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def edit_input(em: HasModel, name: str, fn: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, the named module works on `fn(input)` in place of its first input, given by position.

    Raises `ModelError` for an unknown name.
    """
    owner = get_ident()

    def hook(module: nn.Module, args: tuple[Any, ...]) -> Any:
        return (fn(args[0]), *args[1:]) if get_ident() == owner else None

    handle = get_module(em.model, name).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def head_at(em: HasStructure, rows: Tensor, columns: Tensor) -> AbstractContextManager[None]:
    """While open, the model makes logits `[1, m, vocabulary]` of m tokens of a batch only: `rows`, `columns` `[m]`.

    The head is the dearest part of a small model.
    """
    return edit_input(em, em.structure.lm_head, lambda hidden: hidden[rows, columns][None])


@contextmanager
def only_at(em: HasModel, name: str, rows: Tensor, columns: Tensor) -> Iterator[None]:
    """While open, the named module works on `m` of its tokens `[n, t, width]` only and puts out zeros at all others.

    For a module that treats each token by itself. `rows`, `columns`: `[m]`. Raises `ModelError` for an unknown name.
    """
    owner, shape = get_ident(), list[int]()

    def pick(module: nn.Module, args: tuple[Any, ...]) -> Any:
        if get_ident() != owner:
            return None
        shape[:] = args[0].shape[:2]
        return (args[0][rows, columns], *args[1:])

    def put_back(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        if get_ident() != owner:
            return None
        whole = output.new_zeros(*shape, output.shape[-1])
        whole[rows, columns] = output
        return whole

    module = get_module(em.model, name)
    with ExitStack() as stack:
        stack.callback(module.register_forward_pre_hook(pick).remove)
        stack.callback(module.register_forward_hook(put_back).remove)
        yield


class _Reached(Exception):
    """Ends a forward pass whose rest nobody reads."""


@contextmanager
def only_until(em: HasStructure, names: Iterable[str]) -> Iterator[None]:
    """Ends the model's forward pass, and with it the `with` block, behind the last block that holds one of the modules.

    The whole model runs when a module lies outside the blocks.
    """
    blocks, owner = [block.name for block in em.structure.blocks], get_ident()
    holding = [[name.startswith(f"{block}.") for block in blocks] for name in names]

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        if get_ident() == owner:
            raise _Reached

    with ExitStack() as stack:
        if holding and all(map(any, holding)):
            last = get_module(em.model, blocks[max(inside.index(True) for inside in holding)])
            stack.callback(last.register_forward_hook(stop).remove)
        with suppress(_Reached):
            yield


@contextmanager
def add_output(em: HasModel, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """While open, each named linear module with input x puts out `output + changes[name](x)`, x in fp32.

    Gradients flow through the changes. Raises `ModelError` for an unknown name.
    """
    owner = get_ident()

    def adding(change: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            return plus(output, change(args[0].float()).to(output.dtype)) if get_ident() == owner else None

        return hook

    with ExitStack() as stack:
        for name, change in changes.items():
            stack.callback(get_module(em.model, name).register_forward_hook(adding(change)).remove)
        yield


def plus(output: Tensor, change: Tensor) -> Tensor:
    """A module's output with a change by batch and token, which a family may have flattened into one; see `capture`."""
    return output + (change.flatten(0, 1) if output.ndim == 2 and change.ndim == 3 else change)


class Delta(Protocol):
    """What stands in the place of a module's output `[..., out]` for an input `[..., in]`."""

    def apply(self, x: Tensor, output: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class RowDelta:
    """The deltas of one module by the `n` rows of a batch; rows without one are not changed."""

    parts: Sequence[tuple[ModuleDelta, Tensor]]
    n: int

    def apply(self, x: Tensor, output: Tensor) -> Tensor:
        """The changed output for inputs `[n, t, in]` or, as some families have them, `[n * t, in]`."""
        by_row = x.view(self.n, -1, x.shape[-1])
        whole = output.clone().view(*by_row.shape[:2], -1)
        for delta, rows in self.parts:
            whole[rows] = delta.apply(by_row[rows], whole[rows])
        return whole.view(output.shape)


class LayerSwitch:
    """Lets one model serve many edit layers at once: each call runs under the layer of its own context.

    One light hook stays on every block and on every linear module in it. It reads the current layer from a
    context variable, so threads and tasks never see each other's edits; without a delta for its module it
    hands the output on untouched, so the base model's arithmetic is unchanged bit for bit.
    """

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        widths = {block.name: structure.linear_names[block.down_proj][1] for block in structure.blocks}
        self._blocks = {name: (width, width) for name, width in widths.items()}
        self._sizes = structure.linear_names
        self._model = model
        self._current: ContextVar[Mapping[str, Delta]] = ContextVar("ketools_layer", default=BASE.deltas)
        for name in structure.linear_names:
            get_module(model, name).register_forward_hook(self._hook(name))
        for name in self._blocks:
            get_module(model, name).register_forward_hook(self._block_hook(name), with_kwargs=True)

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
        current = self._current

        def apply_delta(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            delta = current.get().get(name)
            return None if delta is None else delta.apply(args[0], output)

        return apply_delta

    def _block_hook(self, name: str) -> Callable[[nn.Module, Any, dict[str, Any], Any], Any]:
        current = self._current

        def apply_delta(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
            delta = current.get().get(name)
            if delta is None:
                return None
            changed = delta.apply(_first_input(args, kwargs), _first(output))
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return apply_delta

    @contextmanager
    def use(self, layer: EditLayer | Sequence[EditLayer]) -> Iterator[None]:
        """Run the model under the layer, or each row of a batch under a layer of its own.

        Raises `InvalidRequest` for a module or size that the model does not have.
        """
        device = next(self._model.parameters()).device
        token = self._current.set(self._deltas(layer, device))
        try:
            yield
        finally:
            self._current.reset(token)

    def _deltas(self, layer: EditLayer | Sequence[EditLayer], device: torch.device) -> Mapping[str, Delta]:
        layers = [layer] if isinstance(layer, EditLayer) else layer
        groups = by_delta(layers)
        for one, _ in groups:
            self.check(one)
        if len(groups) == 1:
            return groups[0][0].deltas_on(device)
        placed = [(one.deltas_on(device), torch.tensor(rows, device=device)) for one, rows in groups]
        names = {name for deltas, _ in placed for name in deltas}

        def rows_of(name: str) -> RowDelta:
            return RowDelta([(deltas[name], at) for deltas, at in placed if name in deltas], len(layers))

        return {name: rows_of(name) for name in names}

    def check(self, layer: EditLayer) -> None:
        """Raise `InvalidRequest` unless every delta belongs to a module of this model and fits its sizes."""
        for name, delta in layer.deltas.items():
            sizes = self._sizes if delta.changes_weights else {**self._sizes, **self._blocks}
            if name not in sizes:
                raise InvalidRequest(
                    f"The layer edits {name!r}, which is not a linear module of this model's blocks; "
                    "the edit was made for another model. Serve that one (--model), or make it again on this one."
                )
            if delta.sizes != sizes[name]:
                raise InvalidRequest(
                    f"The layer's change of {name!r} has (in, out) sizes {delta.sizes}, the model's module "
                    f"has {sizes[name]}; the edit was made for another model. Serve that one "
                    "(--model), or make it again."
                )


def _first(output: Any) -> Tensor:
    value = output[0] if isinstance(output, tuple) else output
    assert isinstance(value, Tensor)
    return value


def _first_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The module's input: its first positional argument, else the keyword that blocks are called with."""
    return _first(args if args else kwargs["hidden_states"])
