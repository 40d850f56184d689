from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from ketools.core.errors import InvalidRequest, ModelError
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.models.editable import EditableModel
from ketools.models.hooks import capture, edit_input, edit_output, only_at
from ketools.models.structure import get_module, weight_of

FAMILIES = ["llama", "gpt2", "opt", "gpt_neox"]
IDS = torch.tensor([[0, 9, 8, 7, 30]])
Editable = Callable[[str], EditableModel]


@dataclass
class Holder:
    """A bare module where an `EditableModel` is expected."""

    model: nn.Module


class Pair(nn.Module):
    """Puts out a tuple, as attention modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, str]:
        return self.inner(hidden_states), "weights"


def layer_on(em: EditableModel, seed: int, block: int = 1) -> EditLayer:
    name = em.structure.blocks[block].down_proj
    inner, outer = em.structure.linear_names[name]
    g = torch.Generator().manual_seed(seed)
    factors = (torch.randn(2, inner, generator=g), torch.randn(outer, 2, generator=g))
    return EditLayer((LiveEdit(f"e{seed}", f"h{seed}", LowRankDelta("test", {name: factors})),))


def logits(em: EditableModel, layer: EditLayer) -> Tensor:
    with torch.no_grad(), em.switch.use(layer):
        out: Tensor = em.model(input_ids=IDS).logits
    return out


def test_capture_gives_outputs_and_inputs_of_the_named_modules(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    name = em.structure.blocks[1].down_proj
    module = get_module(em.model, name)
    with torch.no_grad():
        with capture(em, [name]) as outputs, capture(em, [name], inputs=True) as inputs:
            em.model(input_ids=IDS)
        torch.testing.assert_close(module(inputs[name]), outputs[name])


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_captured_whether_they_take_and_give_tuples_or_tensors(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    first, second = (block.name for block in em.structure.blocks[:2])
    with torch.no_grad(), capture(em, [first]) as outputs, capture(em, [second], inputs=True) as inputs:
        em.model(input_ids=IDS)
    assert torch.equal(outputs[first], inputs[second])


def test_tuple_outputs_and_keyword_inputs_are_handled() -> None:
    holder, x = Holder(nn.ModuleDict({"pair": Pair()})), torch.ones(1, 2)
    pair = get_module(holder.model, "pair")
    with capture(holder, ["pair"]) as outputs, capture(holder, ["pair"], inputs=True) as inputs:
        pair(hidden_states=x)
    assert torch.equal(outputs["pair"], x)
    assert torch.equal(inputs["pair"], x)
    with edit_output(holder, "pair", lambda out: out + 1):
        changed, rest = pair(x)
    assert torch.equal(changed, x + 1)
    assert rest == "weights"


def test_an_edited_input_is_what_the_module_works_on() -> None:
    holder = Holder(nn.Sequential(nn.Linear(3, 2)))
    x = torch.randn(2, 5, 3)
    whole = holder.model(x)
    with edit_input(holder, "0", lambda value: value[:, -1]):
        torch.testing.assert_close(holder.model(x), whole[:, -1])
    assert holder.model(x).shape == (2, 5, 2)


def test_a_module_may_work_on_a_few_tokens_only() -> None:
    holder = Holder(nn.Sequential(nn.Linear(3, 2)))
    x, rows, columns = torch.randn(2, 5, 3), torch.tensor([0, 1]), torch.tensor([4, 2])
    whole = holder.model(x)
    with only_at(holder, "0", rows, columns), capture(holder, ["0"], inputs=True) as seen:
        part = holder.model(x)
    assert seen["0"].shape == (2, 3)
    torch.testing.assert_close(part[rows, columns], whole[rows, columns])
    part[rows, columns] = 0
    assert part.shape == whole.shape and not part.any()


def test_hooks_detach_even_when_the_body_raises() -> None:
    holder = Holder(nn.Sequential(nn.Linear(2, 2)))
    nowhere = torch.zeros(0, dtype=torch.long)
    with (
        pytest.raises(RuntimeError, match="stop"),
        capture(holder, ["0"]),
        only_at(holder, "0", nowhere, nowhere),
        edit_input(holder, "0", torch.relu),
        edit_output(holder, "0", torch.relu),
    ):
        raise RuntimeError("stop")
    module = get_module(holder.model, "0")
    assert not module._forward_hooks and not module._forward_pre_hooks


def test_a_failing_registration_leaves_no_hook_behind() -> None:
    holder = Holder(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ModelError, match="no module '7'"), capture(holder, ["0", "7"]):
        pass
    assert not get_module(holder.model, "0")._forward_hooks


def test_other_threads_do_not_feel_an_open_edit_or_fill_a_capture(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    name = em.structure.blocks[0].name
    before = logits(em, BASE)
    with (
        ThreadPoolExecutor(1) as pool,
        edit_input(em, name, torch.zeros_like),
        only_at(em, em.structure.blocks[0].ffn or "", *torch.zeros(2, 1, dtype=torch.long)),
        edit_output(em, name, torch.zeros_like),
        capture(em, [name]) as seen,
    ):
        assert torch.equal(pool.submit(logits, em, BASE).result(), before)
        assert not seen
        assert not torch.equal(logits(em, BASE), before)


def test_without_a_layer_the_logits_are_those_of_a_model_without_hooks(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    bare = copy.deepcopy(em.model)
    for module in bare.modules():
        module._forward_hooks.clear()
    with torch.no_grad():
        assert torch.equal(bare(input_ids=IDS).logits, em.model(input_ids=IDS).logits)
        assert torch.equal(bare(input_ids=IDS).logits, logits(em, BASE))


def test_a_module_without_a_delta_hands_on_the_very_same_tensor(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    edited, other = em.structure.blocks[1].down_proj, em.structure.blocks[2].down_proj
    made: list[Tensor] = []
    handle = get_module(em.model, other).register_forward_hook(lambda module, args, out: made.append(out), prepend=True)
    try:
        with capture(em, [other]) as seen:
            logits(em, layer_on(em, 1))
    finally:
        handle.remove()
    assert seen[other] is made[0]
    assert edited in layer_on(em, 1).deltas


def test_nested_layers_replace_and_then_give_back_the_outer_one(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    one, two = layer_on(em, 1), layer_on(em, 2)
    outer, inner = logits(em, one), logits(em, two)
    with torch.no_grad(), em.switch.use(one):
        with pytest.raises(RuntimeError), em.switch.use(two):
            assert torch.equal(em.model(input_ids=IDS).logits, inner)
            raise RuntimeError
        assert torch.equal(em.model(input_ids=IDS).logits, outer)


def test_many_threads_with_different_layers_never_mix(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    layers = [BASE, *(layer_on(em, seed, block=seed % 3) for seed in range(1, 8))]
    expected = [logits(em, layer) for layer in layers]
    barrier = threading.Barrier(len(layers))

    def hammer(i: int) -> bool:
        barrier.wait()
        return all(torch.equal(logits(em, layers[i]), expected[i]) for _ in range(20))

    with ThreadPoolExecutor(len(layers)) as pool:
        assert all(pool.map(hammer, range(len(layers))))


def test_interleaved_tasks_of_one_thread_never_mix(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    layers = [BASE, layer_on(em, 1), layer_on(em, 2)]
    expected = [logits(em, layer) for layer in layers]

    async def task(layer: EditLayer) -> Tensor:
        with em.switch.use(layer):
            await asyncio.sleep(0)
            out: Tensor = em.model(input_ids=IDS).logits
            await asyncio.sleep(0)
        return out

    async def both() -> list[Tensor]:
        return await asyncio.gather(*(task(layer) for layer in layers))

    for got, want in zip(asyncio.run(both()), expected, strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_an_edited_output_under_a_layer_equal_those_under_merged_weights(
    tiny_editable: Editable, family: str
) -> None:
    em = tiny_editable(family)
    layer, name = layer_on(em, 3, block=2), em.structure.blocks[0].down_proj
    merged = Holder(copy.deepcopy(em.model))
    for module_name, delta in layer.deltas.items():
        weight_of(get_module(merged.model, module_name)).data += delta.matrix()

    def gradient(holder: Holder | EditableModel, live: EditLayer) -> Tensor:
        change = torch.zeros(em.structure.hidden_size, requires_grad=True)
        with em.switch.use(live), edit_output(holder, name, lambda out: out + change):
            loss = holder.model(input_ids=IDS).logits[0, -1].log_softmax(-1)[4]
        loss.backward()
        assert change.grad is not None
        return change.grad

    ours, reference = gradient(em, layer), gradient(merged, BASE)
    torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4)
    assert ours.abs().max() > 0


def test_a_layer_first_used_in_inference_mode_can_still_be_differentiated_through(
    tiny_editable: Editable,
) -> None:
    em = tiny_editable("llama")
    layer = layer_on(em, 4).with_edits(*layer_on(em, 5).edits)
    with torch.inference_mode():
        logits(em, layer)
    change = torch.zeros(em.structure.hidden_size, requires_grad=True)
    with em.switch.use(layer), edit_output(em, em.structure.blocks[0].name, lambda out: out + change):
        em.model(input_ids=IDS).logits.sum().backward()
    assert change.grad is not None


def test_a_layer_for_another_model_is_refused_by_module_and_by_size(tiny_editable: Editable) -> None:
    em = tiny_editable("llama")
    name = em.structure.blocks[0].down_proj
    elsewhere = EditLayer((LiveEdit("a", "a", DenseDelta("t", {"transformer.h.0": torch.ones(32, 48)})),))
    misfit = EditLayer((LiveEdit("b", "b", DenseDelta("t", {name: torch.ones(48, 32)})),))
    with pytest.raises(InvalidRequest, match=r"transformer\.h\.0"), em.switch.use(elsewhere):
        pass
    with pytest.raises(InvalidRequest, match=r"\(32, 48\).*\(48, 32\)"), em.switch.use(misfit):
        pass
