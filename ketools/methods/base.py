"""The whole plug-in contract of an editing method, on one screen.

A method is one file or folder under `ketools/methods/` (or another package with an entry point in the group
`ketools.methods`) that builds a `Method`, named `METHOD`. A method computes artefacts; it never writes to weights,
never talks to a journal and never decides whether its edit is good enough.

Listing methods imports every `METHOD`, so what defines it must not import torch: `compute=deferred("module")` names
the module that computes, which is imported by the first computation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Literal, Protocol, cast

from pydantic import BaseModel, ConfigDict

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact

if TYPE_CHECKING:
    from torch import Tensor

    from ketools.layers.composition import EditLayer
    from ketools.models.background import Background
    from ketools.models.covariance import CovarianceStore
    from ketools.models.editable import EditableModel

Phase = Literal["recognition", "association", "mastery"]
"""Where the survey of Zhang et al. (2024) files a method; a label for readers, and nothing is decided by it."""


class Capability(StrEnum):
    """What a method's edits do; `auto` goes by it."""

    IN_PROMPTS = "in_prompts"
    """They state the fact in prompts while the weights still hold what was, so they cannot erase."""
    IN_WEIGHTS = "in_weights"
    """They change what the model computes, so prompts are free of them: `auto` may write facts by the method where it
    was measured how many of its edits the model holds."""
    HOOKED = "hooked"
    """They are codebooks, which vLLM serves in eager mode only: there `auto` passes them by."""


class MethodConfig(BaseModel):
    """Hyper-parameters of a method; each method subclasses it. Frozen, bounds on every field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class State:
    """What a method prepared: `name` is the hash of what it was made of, as the journal records it."""

    name: str
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True)
class EditContext:
    """What a computation gets besides the requests.

    `model`: the editor's copy of the served weights, None for methods that need no model.
    `layer`: the edits already live in the space; the new edit is computed on top of them.
    `progress(done, total, message)`: call it often; it raises `Cancelled` when the caller has cancelled.
    `covariances`: what the model reads at each module, with the background that this was taken from; None without a
    model. `state`: what the method has prepared; None for methods that prepare nothing.
    """

    model: EditableModel | None
    layer: EditLayer
    config: MethodConfig
    progress: Progress = quiet
    covariances: CovarianceStore | None = None
    state: State | None = None

    def require_model(self) -> EditableModel:
        """The model, for methods that need one."""
        if self.model is None:
            raise RuntimeError("this method needs a model; set needs_model=True on it")
        return self.model

    def require_covariances(self) -> CovarianceStore:
        """The covariances, for methods that need a model."""
        if self.covariances is None:
            raise RuntimeError("this method needs covariances; whoever computes with a model gives them")
        return self.covariances

    @property
    def background(self) -> Background:
        """Text that the model is at home in, and neighbours to preserve, for methods that need a model."""
        return self.require_covariances().background

    def require_state(self) -> State:
        """What `prepare` made, for methods that have it."""
        if self.state is None:
            raise RuntimeError("this method has nothing prepared; set prepare on it")
        return self.state


class Compute(Protocol):
    def __call__(self, requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        """One artefact per request, each undoable by itself. Raises `Diverged` rather than return NaN."""
        ...


class Prepare(Protocol):
    def __call__(
        self, model: EditableModel, data: Background, config: MethodConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        """What is trained once, ahead of all edits, as tensors by name (a hyper-network, a classifier).

        It is kept under the hash of model, method, configuration and data, and found again; see
        `ketools.methods.prepared`. The model is without edits.
        """
        ...


def deferred(module: str) -> Compute:
    """The function `compute` of a module, which is imported by the first call."""

    def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        return cast(Compute, import_module(module).compute)(requests, context)

    return compute


def deferred_prepare(module: str) -> Prepare:
    """The function `prepare` of a module, which is imported by the first call."""

    def prepare(
        model: EditableModel, data: Background, config: MethodConfig, progress: Progress
    ) -> Mapping[str, Tensor]:
        return cast(Prepare, import_module(module).prepare)(model, data, config, progress)

    return prepare


@dataclass(frozen=True)
class Method:
    """A registered editing method.

    `joint`: a batch is one update that all its requests share, rather than one edit after another.
    `search`: what `ketools calibrate` may vary, as configurations to try, given the number of layers.
    `prepare`: what is trained once, ahead of all edits; its state comes with the context.
    """

    name: str
    summary: str
    phase: Phase
    source: str
    kinds: frozenset[Kind]
    config: type[MethodConfig]
    compute: Compute
    capabilities: frozenset[Capability] = frozenset()
    needs_model: bool = True
    joint: bool = False
    search: Callable[[int], Sequence[MethodConfig]] | None = None
    prepare: Prepare | None = None

    def refusal(self, request: EditRequest) -> InvalidRequest | None:
        """Why the method cannot do a request at all, before anything is computed or stored; None if it can."""
        if request.kind is Kind.ERASE and Capability.IN_PROMPTS in self.capabilities:
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
