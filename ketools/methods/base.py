"""The whole plug-in contract of an editing method, on one screen.

A method is one file or folder under `ketools/methods/` (or another package with an entry point in the group
`ketools.methods`) that builds a `Method`, named `METHOD`. A method computes artefacts; it never writes to weights,
never talks to a journal and never decides whether its edit is good enough.

Listing methods imports every `METHOD`, so what defines it must not import torch: `compute=deferred("module")` names
the module that computes, which is imported by the first computation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact, Phase

if TYPE_CHECKING:
    from ketools.layers.composition import EditLayer
    from ketools.models.editable import EditableModel


class MethodConfig(BaseModel):
    """Hyper-parameters of a method; each method subclasses it. Frozen, bounds on every field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class EditContext:
    """What a computation gets besides the requests.

    `model`: the editor's copy of the served weights, None for methods that need no model.
    `layer`: the edits already live in the space; the new edit is computed on top of them.
    `progress(done, total, message)`: call it often; it raises `Cancelled` when the caller has cancelled.
    """

    model: EditableModel | None
    layer: EditLayer
    config: MethodConfig
    progress: Callable[[int, int, str], None] = lambda done, total, message: None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def require_model(self) -> EditableModel:
        """The model, for methods that need one."""
        if self.model is None:
            raise RuntimeError("this method needs a model; set needs_model=True on it")
        return self.model


class Compute(Protocol):
    def __call__(self, requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        """One artefact per request, each undoable by itself. Raises `Diverged` rather than return NaN."""
        ...


@dataclass(frozen=True)
class _Deferred:
    module: str

    def __call__(self, requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        return cast(Compute, import_module(self.module).compute)(requests, context)


def deferred(module: str) -> Compute:
    """The function `compute` of a module, which is imported by the first call."""
    return _Deferred(module)


@dataclass(frozen=True)
class Method:
    """A registered editing method.

    `joint`: a batch is one update that all its requests share, rather than one edit after another.
    `search`: what `ketools calibrate` may vary, as configurations to try, given the number of layers.
    """

    name: str
    summary: str
    phase: Phase
    source: str
    kinds: frozenset[Kind]
    config: type[MethodConfig]
    compute: Compute
    needs_model: bool = True
    joint: bool = False
    search: Callable[[int], Sequence[MethodConfig]] | None = None

    def refusal(self, request: EditRequest) -> InvalidRequest | None:
        """Why the method cannot do a request at all, before anything is computed or stored; None if it can."""
        if request.kind is Kind.ERASE and self.phase == "recognition":
            return self.tells_what_it_erases()
        if request.kind in self.kinds:
            return None
        able = ", ".join(sorted(self.kinds))
        return InvalidRequest(f"{self.name} cannot {request.kind}; it can: {able}. See list_methods.")

    def tells_what_it_erases(self) -> InvalidRequest:
        """The refusal of an erasure by a note, which is kept as text while the weights still hold the fact."""
        return InvalidRequest(
            f"{self.name} cannot erase: a note keeps in clear what it is to hide, and the weights still hold it. "
            "Nothing was stored. Use method=auto, or a method that changes weights (list_methods)."
        )
