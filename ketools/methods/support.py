"""What the optimising methods share: configuration, layers by depth, and edits one after another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, TypeVar

from pydantic import Field

from ketools.edits import Artefact, EditRequest, Kind
from ketools.errors import InvalidRequest
from ketools.layer import LiveEdit
from ketools.methods.base import EditContext, MethodConfig
from ketools.models.background import Background
from ketools.models.batch import Batch, make_batch
from ketools.models.contexts import Breadth, contexts_of
from ketools.models.covariance import CovarianceStore, sampled_background
from ketools.models.targets import Schedule


class OptimisedConfig(MethodConfig):
    """Hyper-parameters of every method that optimises towards a target.

    `layer`: block whose down projection changes; None: the paper's depth, scaled to the model.
    `confidence`: stop once every target token has this probability and nothing preserved has changed.
    `preservation`: weight of the KL term (nats) that keeps the subject's other relations and neighbours;
    0 leaves it out. `answer`: tokens of a preserved answer that are held.
    The rest is `ketools.models.contexts.Breadth`.
    """

    layer: Annotated[int, Field(ge=0, le=512)] | None = None
    steps: int = Field(default=25, ge=1, le=500)
    lr: float = Field(default=5e-4, gt=0, le=10)
    confidence: float = Field(default=0.9, gt=0, lt=1)
    preservation: float = Field(default=1.0, ge=0, le=1000)
    decay: float = Field(default=0.0, ge=0, le=1000)
    answer: int = Field(default=1, ge=1, le=16)
    templates: int = Field(default=3, ge=0, le=8)
    conversations: bool = True
    prefixes: int = Field(default=1, ge=0, le=16)
    relations: int = Field(default=4, ge=0, le=32)
    neighbours: int = Field(default=4, ge=0, le=64)

    @property
    def breadth(self) -> Breadth:
        """How many contexts to use."""
        return Breadth(self.templates, self.conversations, self.prefixes, self.relations, self.neighbours)

    @property
    def schedule(self) -> Schedule:
        """How to optimise."""
        return Schedule(self.steps, self.lr, self.confidence, self.preservation, self.decay)


Config = TypeVar("Config", bound=OptimisedConfig)


def for_request(config: Config, request: EditRequest) -> Config:
    """The configuration, with more preserved when a fact is erased.

    Private facts (numbers, addresses) begin alike, so the first token of a preserved answer tells nothing, and a
    refusal taught at one prompt spreads to its likes.
    """
    if request.kind is not Kind.ERASE:
        return config
    least = {"neighbours": 16, "answer": 10, "preservation": 4.0, "steps": 200}
    return config.model_copy(update={name: max(getattr(config, name), value) for name, value in least.items()})


def resolve_layer(layer: int | None, n_layers: int, depth: float) -> int:
    """The block to edit: the configured one, else `depth` (a share of the model) rounded.

    Raises `InvalidRequest` for a block that the model does not have.
    """
    if layer is None:
        return min(round(depth * n_layers), n_layers - 1)
    if layer >= n_layers:
        raise InvalidRequest(f"layer {layer} does not exist: the model has blocks 0 to {n_layers - 1}.")
    return layer


def background_of(context: EditContext) -> Background:
    """The background the editor provides, else the model's own sampled text."""
    found = context.extra.get("background")
    return found if isinstance(found, Background) else sampled_background(context.require_model())


def covariances_of(context: EditContext) -> CovarianceStore:
    """The covariance store the editor provides, else one in memory."""
    found = context.extra.get("covariances")
    return found if isinstance(found, CovarianceStore) else CovarianceStore(background_of(context))


def batch_of(request: EditRequest, context: EditContext, config: OptimisedConfig, teach_implied: bool = False) -> Batch:
    """The request's contexts as a batch, with `teach_implied` also what follows from the fact.

    Raises `InvalidRequest` when they do not fit the model.
    """
    em = context.require_model()
    contexts = contexts_of(em, request, background_of(context), config.breadth)
    preserve = config.preservation > 0
    implied = [(p.rendered(), p.answer) for p in request.implied if p.answer] if teach_implied else []
    return make_batch(
        em,
        contexts,
        request.target_new,
        request.subject,
        preserve=preserve,
        answer=config.answer,
        implied=implied,
    )


def one_after_another(
    requests: Sequence[EditRequest],
    context: EditContext,
    compute: Callable[[EditRequest, EditContext], Artefact],
) -> list[Artefact]:
    """Compute each request on top of those before it, so that every artefact can be undone by itself."""
    made: list[Artefact] = []
    layer = context.layer
    for i, request in enumerate(requests):
        inner = replace(context, layer=layer, progress=_part(context.progress, i, len(requests), request))
        with context.require_model().switch.use(layer):
            made.append(compute(request, inner))
        # The temporary names are unique: a cache keyed by the layer's hash must not confuse two of them.
        layer = layer.with_edits(LiveEdit(f"pending-{i}", uuid.uuid4().hex, made[-1]))
    return made


def _part(
    progress: Callable[[int, int, str], None], i: int, n: int, request: EditRequest
) -> Callable[[int, int, str], None]:
    """Progress of one of n requests, as progress of the whole, in thousandths."""

    def report(done: int, total: int, message: str) -> None:
        share = (i + done / max(total, 1)) / n
        progress(round(1000 * share), 1000, f"{request.subject}: {message}")

    return report
