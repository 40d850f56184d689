"""LoRA and AdaLoRA against training the whole weight in place, and what pruning leaves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import cast

import pytest
import torch

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.layers.composition import BASE
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.adalora.config import AdaLoRAConfig
from ketools.methods.base import EditContext, MethodConfig
from ketools.methods.lora.config import LoRAConfig
from ketools.methods.registry import get_method
from ketools.methods.support import batch_of
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module, weight_of

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
BACKGROUND = Background("test", lambda: ("The capital of Peru is Lima.",) * 4)
NARROW = {"templates": 1, "conversations": False, "prefixes": 0, "relations": 1, "neighbours": 0}


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def context(em: EditableModel, config: MethodConfig) -> EditContext:
    return EditContext(em, BASE, config, covariances=CovarianceStore(BACKGROUND))


def edited(em: EditableModel, name: str, config: MethodConfig) -> LowRankDelta:
    (artefact,) = get_method(name).compute([FRANCE], context(em, config))
    return cast(LowRankDelta, artefact)


def test_loras_loss_is_that_of_a_model_whose_weights_hold_the_adapters(em: EditableModel) -> None:
    config = LoRAConfig(steps=5, rank=2, lr=1e-2, preservation=0.0, **NARROW)
    artefact = edited(em, "lora", config)
    assert {name.rpartition(".")[2] for name in artefact.factors} == {"q_proj", "v_proj"}
    assert len(artefact.factors) == 2 * len(em.structure.blocks)
    batch, model = batch_of(FRANCE, context(em, config), config), copy.deepcopy(em.model)
    with torch.no_grad():
        for name, (a, b) in artefact.factors.items():
            weight_of(get_module(model, name)).add_(b @ a)
        log_probs = model(input_ids=batch.ids, attention_mask=batch.mask).logits.log_softmax(-1)
    at = log_probs[batch.target.rows, batch.target.columns].gather(1, batch.target_ids[:, None])[:, 0]
    rows = [at[batch.target.rows == row].mean() for row in range(batch.contexts)]
    assert -float(torch.stack(rows).mean()) == pytest.approx(cast(float, artefact.metadata["nll"]), rel=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox"])
def test_a_fused_projection_stands_for_queries_and_values(
    tiny_editable: Callable[[str], EditableModel], family: str
) -> None:
    em = tiny_editable(family)
    artefact = edited(em, "lora", LoRAConfig(steps=3, rank=2, layers=(1,), **NARROW))
    assert set(artefact.factors) == {em.structure.blocks[1].qkv}


def test_a_block_that_the_model_lacks_gets_no_adapter(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="layer 7 does not exist"):
        edited(em, "lora", LoRAConfig(layers=(7,), **NARROW))


def test_adalora_prunes_to_its_budget_and_exports_what_is_left(em: EditableModel) -> None:
    # A target that is out of reach keeps the optimisation going to the last step.
    config = AdaLoRAConfig(steps=20, rank=1, initial_rank=4, lr=1e-2, confidence=0.9999, preservation=0.0, **NARROW)
    artefact = edited(em, "adalora", config)
    ranks = [len(a) for a, _ in artefact.factors.values()]
    assert cast(int, artefact.metadata["steps"]) >= 12
    assert sum(ranks) <= config.rank * 2 * len(em.structure.blocks)
    assert min(ranks) >= 1
    assert len(set(ranks)) > 1
