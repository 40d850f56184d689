"""What the optimising methods share: their context, layers by depth, and edits one after another."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest, Kind
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import LiveEdit
from ketools.methods.base import EditContext
from ketools.methods.configs import WITH_IMPLIED, ContextConfig, LocatedConfig
from ketools.models.batch import Batch, chunks, edits_only, make_batch, merged
from ketools.models.contexts import contexts_of, fact_of
from ketools.models.editable import EditableModel
from ketools.models.keys import Keys, confidences
from ketools.models.solves import Metric

Config = TypeVar("Config", bound=ContextConfig)
Located = TypeVar("Located", bound=LocatedConfig)


def for_request(config: Config, request: EditRequest) -> Config:
    """The configuration, with more preserved when a fact is erased.

    Private facts (numbers, addresses) begin alike, so the first token of a preserved answer tells nothing, and a
    refusal taught at one prompt spreads to its likes.
    """
    if request.kind is not Kind.ERASE:
        return config
    return _at_least(config, {"neighbours": 16, "answer": 10, "preservation": 4.0, "steps": 400})


def for_training(config: Config, request: EditRequest) -> Config:
    """`for_request`, with more steps and more preserved when a change is also taught what follows from the fact."""
    config = for_request(config, request)
    return _at_least(config, WITH_IMPLIED) if request.implied else config


def _at_least(config: Config, least: Mapping[str, float]) -> Config:
    """The configuration with none of these, as far as it has them, smaller."""
    known = {name: value for name, value in least.items() if name in type(config).model_fields}
    return config.model_copy(update={name: max(getattr(config, name), value) for name, value in known.items()})


def resolve_layer(layer: int | None, n_layers: int, depth: float) -> int:
    """The block to edit: the configured one, else `depth` (a share of the model) rounded.

    Raises `InvalidRequest` for a block that the model does not have.
    """
    if layer is None:
        return min(round(depth * n_layers), n_layers - 1)
    if layer >= n_layers:
        raise InvalidRequest(f"layer {layer} does not exist: the model has blocks 0 to {n_layers - 1}.")
    return layer


def resolve_layers(layers: Sequence[int] | None, n_layers: int, depths: tuple[float, float]) -> list[int]:
    """The blocks to edit, first to last: the configured ones, else those from one depth to another.

    Raises `InvalidRequest` for a block that the model does not have.
    """
    if layers is None:
        first, last = (resolve_layer(None, n_layers, depth) for depth in depths)
        return list(range(first, last + 1))
    return sorted({resolve_layer(layer, n_layers, 0.0) for layer in layers})


def metric_of(context: EditContext, config: LocatedConfig, module: str, keys: Keys) -> Metric:
    """What an update of the module should leave alone: what the model's text and prompts read, and what its keys are
    to spare."""
    em, store = context.require_model(), context.require_covariances()
    factor = store.factor(em, module, config.ridge, config.prompts, context.progress)
    return Metric(factor, config.spare**0.5 * keys.spared if config.spare else None)


def batch_of(
    request: EditRequest,
    context: EditContext,
    config: ContextConfig,
    teach_implied: bool = False,
    edited: Collection[str] = frozenset(),
    ended: bool = True,
) -> Batch:
    """The request's contexts as a batch, with `teach_implied` also what follows from the fact.

    `edited`: see `contexts_of`; `ended`: see `make_batch`. Raises `InvalidRequest` when they do not fit the model.
    """
    em = context.require_model()
    contexts = contexts_of(em, request, context.background, config.breadth, edited)
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
        ended=ended,
    )


def for_locating(config: Located, request: EditRequest) -> Located:
    """The configuration of an edit that is written where it is located.

    What follows from a fact is asked for in other words, so it can be taught at the prompt's end only.
    """
    return for_training(config, request) if config.fact_token == "prompt_last" else for_request(config, request)


def batches_of(
    requests: Sequence[EditRequest], context: EditContext, configs: Sequence[ContextConfig], *, teach_implied: bool
) -> Iterator[Batch]:
    """Each request's contexts under the context's layer; facts that are edited together need not preserve each other.

    `configs`: of each request; `teach_implied`: see `batch_of`. Raises `InvalidRequest` for the first that does not
    fit.
    """
    edited = {fact_of(request) for request in requests}
    for i, request in enumerate(requests):
        try:
            with context.require_model().switch.use(context.layer):
                batch = batch_of(request, context, configs[i], teach_implied, edited)
        except InvalidRequest as error:
            error.which = (i,)
            raise
        yield batch


def certainties(em: EditableModel, batches: Sequence[Batch]) -> list[float]:
    """The smallest probability of a target's token over each request's contexts, under the layer in use."""
    found: list[float] = []
    for some, _ in chunks(em, ((edits_only(batch), None) for batch in batches), padded=False):
        found += confidences(em, merged(em, some)).tolist()
    return found


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
        try:
            with context.require_model().switch.use(layer):
                made.append(compute(request, inner))
        except (Diverged, InvalidRequest) as error:
            error.which = (i,)
            raise
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


def in_round(progress: Progress, turn: int, rounds: int) -> Progress:
    """Progress of one round of several, as progress of the whole, in thousandths."""
    return lambda done, total, message: progress(round(1000 * (turn + done / total) / rounds), 1000, message)


def portion(progress: Progress, first: int, count: int, total: int) -> Progress:
    """Progress of some of the requests, as progress of the whole, in thousandths; the last tenth is for writing."""

    def report(done: int, steps: int, message: str) -> None:
        share = (first + count * done / max(steps, 1)) / total
        progress(round(900 * share), 1000, f"{count} of {total} edits: {message}")

    return report
