"""Hook states: a codebook acts on the requests of its own space, near its keys, as it does in transformers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import pytest
import torch

from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.layers.codebook import Blocks, Codebook
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.hook import HookState
from ketools.layers.store import content_hash
from ketools.models.hooks import capture
from ketools.models.text import encode_prompt

MODULE = "model.layers.4.mlp.down_proj"
PROMPT, OTHER = "The capital of France is", "The currency of Peru is"


@pytest.fixture(scope="module", params=["value", "block"])
def layer(world: Any, request: pytest.FixtureRequest) -> EditLayer:
    """A codebook of one key, what the module reads at the prompt's end; it adds a value, or changes the weight."""
    with torch.no_grad(), capture(world.em, [MODULE], inputs=True) as seen:
        world.em.model(torch.tensor([encode_prompt(world.em, PROMPT)]))
    key = seen[MODULE][0, -1:].float()
    value = torch.randn(1, world.outline.sizes[MODULE][1], generator=torch.Generator().manual_seed(5)) * 80
    book = Codebook(key, value, torch.full((1, 1), float(key.norm()) / 50))
    if request.param == "block":
        blocks = Blocks(key / key.square().sum(), value.T.contiguous(), torch.tensor([[0.0, 1.0]]))
        book = Codebook(key, torch.zeros_like(value), book.radius, blocks)
    state = HookState("test", MappingProxyType({MODULE: book}))
    return BASE.with_edits(LiveEdit("hook", content_hash(state), state))


def logprobs(engine: Any, prompt: str, layer: EditLayer) -> list[float]:
    return list(engine.score([prompt], ["Paris and Rome"], layer)[0].logprobs)


def test_a_codebook_is_served_as_transformers_computes_it(
    engine: VLLMEngine, local: LocalEngine, layer: EditLayer
) -> None:
    assert engine.apply_layer(layer) == 0.0
    served = logprobs(engine, PROMPT, layer)
    assert served == pytest.approx(logprobs(local, PROMPT, layer), abs=1e-4)
    assert abs(served[0] - logprobs(engine, PROMPT, BASE)[0]) > 0.5, "it must matter"


def test_prompts_far_from_its_keys_are_untouched_bit_for_bit(engine: VLLMEngine, layer: EditLayer) -> None:
    assert logprobs(engine, OTHER, layer) == logprobs(engine, OTHER, BASE)


def test_other_spaces_in_the_same_batch_do_not_get_it(
    engine: VLLMEngine, local: LocalEngine, layer: EditLayer, low_rank: Callable[..., EditLayer]
) -> None:
    layers = [layer, BASE, low_rank(700, scale=0.1), layer.with_edits(*low_rank(701, scale=0.1).edits)] * 4
    wanted = {id(one): logprobs(local, PROMPT, one) for one in layers}
    with ThreadPoolExecutor(8) as pool:
        for one, found in zip(layers, pool.map(lambda each: logprobs(engine, PROMPT, each), layers), strict=True):
            assert found == pytest.approx(wanted[id(one)], abs=1e-4)


def test_it_comes_back_after_the_adapter_was_taken_off(world: Any, engine: VLLMEngine, layer: EditLayer) -> None:
    before = logprobs(engine, PROMPT, layer)
    world.client.unload(engine.prepare(layer).model)
    assert logprobs(engine, PROMPT, layer) == before
