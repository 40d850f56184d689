"""LoRA: A starts at random, B at zero, and both are trained through the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.adapters import Packing, adapted_blocks, adapted_modules, factored_change, random_start
from ketools.methods.base import EditContext
from ketools.methods.configs import AdapterConfig
from ketools.methods.support import batch_of, for_training, one_after_another
from ketools.models.targets import Objective, minimise


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """One set of adapters per request. Raises `Diverged`, `InvalidRequest`."""
    return one_after_another(requests, context, _one)


def _one(request: EditRequest, context: EditContext) -> Artefact:
    em, config = context.require_model(), for_training(cast(AdapterConfig, context.config), request)
    sizes = {name: em.structure.linear_names[name] for name in adapted_modules(config, em.structure)}
    packing = Packing({name: ((config.rank, i), (o, config.rank)) for name, (i, o) in sizes.items()})
    scale = config.alpha / config.rank
    outcome = minimise(
        Objective(em, batch_of(request, context, config, teach_implied=True), adapted_blocks(config, em.structure)[0]),
        random_start(packing, request).to(em.device),
        lambda x: {name: factored_change(a, scale * b) for name, (a, b) in packing.unpack(x).items()},
        config.schedule,
        penalty=lambda x: x.square().sum(),
        progress=context.progress,
    )
    factors = {name: (a.clone(), scale * b) for name, (a, b) in packing.unpack(outcome.value).items()}
    return LowRankDelta("lora", factors, {"steps": outcome.steps, "nll": outcome.nll, "kl": outcome.kl})
