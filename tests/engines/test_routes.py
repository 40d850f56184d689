"""Routed edits on the local engine: each prompt of a batch runs under the edits that it asks for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest, Prompt, chat_prompt
from ketools.engines.local import LocalEngine
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.layers.kinds.routed import RoutedDelta
from ketools.models.editable import EditableModel
from ketools.notes import NoteInjector, ScopedEngine

Editable = Callable[[str], EditableModel]
PROMPTS: list[Prompt] = ["The capital of France is", chat_prompt("What is the capital of Japan?"), "Alice", "Bob was"]


def request(subject: str) -> EditRequest:
    return EditRequest(subject=subject, prompt=f"The capital of {subject} is", target_new="Lyon", relation="capital")


def routed(em: EditableModel, subject: str, seed: int) -> RoutedDelta:
    """Random factors of rank 2 on the last block's down projection."""
    g = torch.Generator().manual_seed(seed)
    name = em.structure.blocks[-1].down_proj
    inner, outer = em.structure.linear_names[name]
    factors = {name: (torch.randn(2, inner, generator=g), torch.randn(outer, 2, generator=g))}
    return RoutedDelta("test", request(subject), factors)


def layer_of(em: EditableModel) -> EditLayer:
    return EditLayer(
        (
            LiveEdit("france", "1" * 64, routed(em, "France", 1)),
            LiveEdit("japan", "2" * 64, routed(em, "Japan", 2)),
        )
    )


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt", "gpt2"])
def test_prompts_of_one_batch_are_answered_as_each_is_alone_under_its_own_layer(
    tiny_editable: Editable, family: str
) -> None:
    em = tiny_editable(family)
    engine, layer = LocalEngine(em), layer_of(em)
    layers = [layer.activate({"france"}), layer.activate({"japan"}), layer, layer.activate({"france", "japan"})]
    together = engine.generate(PROMPTS, layers, max_new_tokens=8)
    assert together == [engine.generate([p], one, max_new_tokens=8)[0] for p, one in zip(PROMPTS, layers, strict=True)]
    scores = engine.score(PROMPTS, ["Lyon"] * 4, layers)
    for prompt, one, score in zip(PROMPTS, layers, scores, strict=True):
        assert score.total == pytest.approx(engine.score([prompt], ["Lyon"], one)[0].total, abs=1e-4)


def test_an_inactive_routed_edit_changes_no_bit_and_an_active_one_acts_as_its_low_rank_delta(
    tiny_editable: Editable,
) -> None:
    em = tiny_editable("llama")
    engine, layer = LocalEngine(em), layer_of(em)
    assert torch.equal(engine.logits(PROMPTS, layer), engine.logits(PROMPTS, BASE))
    made = routed(em, "France", 1)
    plain = EditLayer((LiveEdit("e", "3" * 64, LowRankDelta("test", made.factors)),))
    assert torch.equal(engine.logits(PROMPTS, layer.activate({"france"})), engine.logits(PROMPTS, plain))


def test_a_layer_names_its_changes_by_what_acts(tiny_editable: Editable) -> None:
    layer = layer_of(tiny_editable("llama"))
    assert layer.delta_hash == ""
    assert layer.activate({"france"}).delta_hash != layer.activate({"japan"}).delta_hash
    assert layer.activate({"france"}) is layer.activate({"france"})
    assert layer.activate({"france"}).without("france").delta_hash == ""
    assert layer.activate({"france"}).activate(()).hash == layer.hash


def test_a_prompt_is_served_under_the_routed_edits_that_it_asks_for(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    note = LiveEdit("note", "4" * 64, Note("ice", request("Peru")))
    layer = layer_of(em).with_edits(note)
    serving = ScopedEngine(LocalEngine(em), NoteInjector())
    asked = ["The capital of France is", "The river of France is", "The capital of Peru is", "Alice"]
    found = serving.prepare(asked, layer)
    assert [p.used for p in found] == [("france",), (), ("note",), ()]
    assert [p.layer.active for p in found] == [{"france"}, frozenset(), frozenset(), frozenset()]
    assert found[1].prompt == asked[1]
    assert "Imagine" in str(found[2].prompt)


def test_as_many_layers_as_prompts_are_required(tiny_editable: Editable) -> None:
    with pytest.raises(InvalidRequest, match="2 prompts need 2 layers"):
        LocalEngine(tiny_editable("llama")).generate(["a", "b"], [BASE])
