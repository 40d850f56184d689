"""A full-rank change of the shared space in the served weights themselves, exact both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import InvalidRequest
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.layers.composition import BASE, EditLayer

MakeLayer = Callable[..., EditLayer]
PROMPTS, CONTINUATIONS = ["The capital of France is", "The capital of Japan is"], ["Paris", "Tokyo"]


@pytest.fixture(scope="module")
def holder(world: Any) -> Iterator[VLLMEngine]:
    """An engine that owns the shared server for the while."""
    with closing(world.engine()) as engine:
        engine._in_place = True
        yield engine
        engine.hold(BASE)


def logprobs(engine: Any, layer: EditLayer) -> list[float]:
    return [value for score in engine.score(PROMPTS, CONTINUATIONS, layer) for value in score.logprobs]


@pytest.mark.parametrize(
    "module", ["model.layers.4.mlp.down_proj", "model.layers.2.mlp.up_proj", "model.layers.1.self_attn.k_proj"]
)
def test_a_dense_change_is_served_exactly_and_restored_bit_for_bit(
    holder: VLLMEngine, local: LocalEngine, dense: MakeLayer, module: str
) -> None:
    shared = dense(7, module=module)
    before = logprobs(holder, BASE)
    assert holder.apply_layer(shared) > 0.1, "beyond the rank limit as an adapter"
    holder.hold(shared)
    assert holder.apply_layer(shared) == 0.0
    assert logprobs(holder, shared) == pytest.approx(logprobs(local, shared), abs=1e-5)
    holder.hold(BASE)
    assert logprobs(holder, BASE) == before


def test_spaces_and_the_untouched_model_are_adapters_on_top(
    holder: VLLMEngine, local: LocalEngine, dense: MakeLayer, low_rank: MakeLayer
) -> None:
    shared = dense(8, rank=5)
    space = shared.with_edits(*low_rank(600, modules=["model.layers.3.mlp.down_proj"], scale=0.1).edits)
    holder.hold(shared)
    for layer in (shared, space, BASE):
        assert logprobs(holder, layer) == pytest.approx(logprobs(local, layer), abs=1e-5)
    holder.hold(BASE)
    assert logprobs(holder, space) == pytest.approx(logprobs(local, space), abs=1e-5)


def test_the_cache_and_old_names_are_forgotten(
    world: Any, holder: VLLMEngine, dense: MakeLayer, low_rank: MakeLayer
) -> None:
    import httpx

    space = low_rank(610, scale=0.15)
    old = holder.prepare(space).model
    long = "A long beginning that is cached. " * 20 + "The capital of France is"
    holder.generate([long])
    holder.hold(dense(9))
    body = {"model": old, "prompt": "a", "max_tokens": 1}
    assert httpx.post(f"{world.server.url}/v1/completions", json=body).status_code == 404
    assert holder.prepare(space).model != old
    holder.hold(BASE)
    assert holder.prepare(space).model == old


def test_only_files_of_the_store_are_taken(world: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"")
    with pytest.raises(InvalidRequest, match="not in the adapter store"):
        world.client.in_place(file, "x")
