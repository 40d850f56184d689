"""What a change of weights looks like, and whether undo takes all of it away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ketools.core.requests import EditRequest
from ketools.engines.local import LocalEngine
from ketools.evaluation import Baseline
from ketools.evaluation.data import parse
from ketools.evaluation.restoration import restoration
from ketools.evaluation.weights import changes, hits, mean_hits
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module, weight_of


def dense(em: EditableModel, make: Callable[[Tensor], Tensor]) -> EditLayer:
    name = em.structure.blocks[0].down_proj
    delta = make(weight_of(get_module(em.model, name)).detach().clone())
    return BASE.with_edits(LiveEdit("d", "d", DenseDelta("test", {name: delta})))


@pytest.fixture(scope="module")
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def test_a_change_of_one_column_is_concentrated_and_sparse(em: EditableModel) -> None:
    def one_column(weight: Tensor) -> Tensor:
        delta = torch.zeros_like(weight)
        delta[:, 3] = 2.0
        return delta

    (change,) = changes(em, dense(em, one_column))
    weight = weight_of(get_module(em.model, change.module))
    out, inner = change.sizes
    assert (out, inner) == tuple(weight.shape)
    assert change.top_columns == pytest.approx(1)
    assert change.sparsity == pytest.approx(1 - 1 / inner)
    assert change.relative == pytest.approx(2 * out**0.5 / float(weight.norm()))
    assert max(max(row) for row in change.heat) == 1


def test_a_uniform_change_is_neither(em: EditableModel) -> None:
    (change,) = changes(em, dense(em, lambda weight: torch.ones_like(weight)))
    few = max(change.sizes[1] // 100, 1)
    assert change.top_columns == pytest.approx(few / change.sizes[1])
    assert change.sparsity == 0
    assert {value for row in change.heat for value in row} == {1.0}


def test_a_note_changes_no_weights(em: EditableModel) -> None:
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
    layer = BASE.with_edits(LiveEdit("n", "n", Note("ice", request)))
    assert changes(em, layer) == []
    assert hits(em, layer, "Lima") is None
    assert mean_hits([]) is None


def test_a_column_that_is_a_tokens_direction_hits_that_token(em: EditableModel) -> None:
    token = em.tokenizer("Lima", add_special_tokens=False)["input_ids"][0]
    head = weight_of(get_module(em.model, em.structure.lm_head)).detach()

    def towards(weight: Tensor) -> Tensor:
        delta = torch.zeros_like(weight)
        delta[:, 0] = 1000 * head[token] / head[token].norm()
        return delta

    found = hits(em, dense(em, towards), "Lima")
    assert found is not None
    assert (found.hit_10, found.hit_50, found.n) == (1.0, 1.0, 1)
    assert found.hit_10_before <= found.hit_50_before
    assert mean_hits([found, found.model_copy(update={"hit_10": 0.0})]) == found.model_copy(
        update={"hit_10": 0.5, "n": 2}
    )


def test_undo_leaves_nothing_of_what_edits_moved(tiny_llama_dir: Path) -> None:
    engine = LocalEngine(tiny_llama_dir)
    row = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lima"}
    cases = parse([row], "towns").cases
    name = engine.editable.structure.blocks[0].down_proj
    out, inner = weight_of(get_module(engine.editable.model, name)).shape
    made = [LowRankDelta("t", {name: (torch.ones(1, inner) * i, torch.ones(out, 1))}) for i in (1, 2)]
    layer = EditLayer(tuple(LiveEdit(str(i), str(i), delta) for i, delta in enumerate(made)))
    found = restoration(engine, Baseline(engine), layer, cases)
    assert found is not None
    assert found.moved > 0
    assert (found.left, found.exact) == (0.0, True)
    assert found.tokens > 0
