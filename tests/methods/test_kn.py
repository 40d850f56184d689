"""KN: attributions that add up, and columns that are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Kind
from ketools.layers.composition import BASE
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import EditContext
from ketools.methods.kn.compute import refined
from ketools.methods.kn.config import KNConfig
from ketools.methods.registry import get_method
from ketools.models.attribution import neuron_attributions
from ketools.models.background import Background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module

FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima", target_old="Paris")


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def edited(em: EditableModel, config: KNConfig, request: EditRequest = FRANCE) -> LowRankDelta:
    context = EditContext(em, BASE, config, covariances=CovarianceStore(Background("test", tuple)))
    (artefact,) = get_method("kn").compute([request], context)
    return cast(LowRankDelta, artefact)


def test_attributions_add_up_to_what_the_neurons_change(em: EditableModel) -> None:
    row, answer, name = list(em.tokenizer(FRANCE.prompt)["input_ids"]), 9, em.structure.blocks[1].down_proj
    attributions = neuron_attributions(em, [row], answer, name, steps=400)

    def probability(silent: bool) -> float:
        def hush(module: torch.nn.Module, args: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
            out = out.clone()
            out[:, -1] = 0.0
            return out

        handle = get_module(em.model, name).register_forward_hook(hush if silent else lambda m, a, out: out)
        with torch.no_grad():
            found = float(em.model(input_ids=torch.tensor([row])).logits[0, -1].softmax(-1)[answer])
        handle.remove()
        return found

    assert float(attributions.sum()) == pytest.approx(probability(False) - probability(True), rel=2e-2, abs=1e-6)


def test_neurons_that_count_in_most_prompts_are_kept_strongest_first() -> None:
    first = torch.tensor([[1.0, 0.0, 0.5], [1.0, 0.9, 0.0]])
    second = torch.tensor([[0.3, 0.0], [0.4, 0.0]])
    found = refined({"a": first, "b": second}, KNConfig(threshold=0.2, share=0.9))
    assert {name: chosen.tolist() for name, chosen in found.items()} == {"a": [0], "b": [0]}
    assert set(refined({"a": first, "b": second}, KNConfig(share=0.5, most=1))) == {"a"}


def test_the_chosen_columns_move_from_the_old_answer_to_the_new(em: EditableModel) -> None:
    artefact = edited(em, KNConfig(steps=4, templates=1, most=3))
    embedding = cast(torch.Tensor, get_module(em.model, em.structure.embed).weight)
    new, old = (em.tokenizer(f" {word}", add_special_tokens=False)["input_ids"][0] for word in ("Lima", "Paris"))
    assert 1 <= cast(int, artefact.metadata["neurons"]) <= 3
    for a, b in artefact.factors.values():
        torch.testing.assert_close(b[:, 0], (8 * embedding[new] - embedding[old]).detach())
        assert set(a.flatten().tolist()) <= {0.0, 1.0}


def test_an_erasure_is_written_too_and_other_kinds_are_not_offered(em: EditableModel) -> None:
    assert get_method("kn").kinds == {Kind.MODIFY, Kind.ERASE}
    erasure = FRANCE.model_copy(update={"kind": Kind.ERASE, "target_new": "I don't know.", "target_old": None})
    assert edited(em, KNConfig(steps=2, templates=0), erasure).factors


def test_neurons_that_agree_nowhere_are_reported() -> None:
    with pytest.raises(InvalidRequest, match="lower share"):
        refined({"a": torch.eye(3)}, KNConfig(share=1.0))
