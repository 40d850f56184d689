"""The whole plug-in contract of an editing method, on one screen.

A method is one folder under `ketools/methods/` (or another package with an entry point in the group
`ketools.methods`) that builds a `Method` and registers it. A method computes artefacts; it never writes
to weights, never talks to a journal and never decides whether its edit is good enough.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact, Phase
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
