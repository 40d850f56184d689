"""What vLLM serves under a layer is what transformers computes with the change merged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ketools.atlas import weights_path
from ketools.core.errors import InvalidRequest
from ketools.core.requests import Prompt, chat_prompt
from ketools.engines.base import Engine
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.engine import VLLMEngine
from ketools.layers.composition import BASE, EditLayer
from ketools.models.loading import load_editable

MakeLayer = Callable[..., EditLayer]

PROMPTS: list[Prompt] = [
    "The capital of France is",
    chat_prompt("What is the capital of Japan?"),
    chat_prompt("Imagine that the capital of Peru is Oslo. What is the capital of Peru?"),
    "Question: Who are you?\nAnswer:",
]
CONTINUATIONS = ["Paris", "Tokyo", "Oslo", "I don't know."]


def furthest(engine: Engine, local: LocalEngine, layer: EditLayer) -> float:
    """The largest difference of a log probability."""
    served, merged = (e.score(PROMPTS, CONTINUATIONS, layer) for e in (engine, local))
    pairs = zip(served, merged, strict=True)
    return max(abs(a - b) for s, m in pairs for a, b in zip(s.logprobs, m.logprobs, strict=True))


@pytest.fixture(scope="module")
def rounding(local: LocalEngine) -> Callable[[EditLayer], float]:
    """What may be due to single precision: 1e-5, or five times what it costs transformers on the same texts."""
    single = LocalEngine(load_editable(weights_path()))
    return lambda layer: max(1e-5, 5 * furthest(single, local, layer))


def test_the_untouched_model_scores_and_answers_as_transformers_does(
    engine: VLLMEngine, local: LocalEngine, rounding: Callable[[EditLayer], float]
) -> None:
    assert furthest(engine, local, BASE) <= rounding(BASE)
    assert engine.generate(PROMPTS) == local.generate(PROMPTS)
    stop = ("is", "to", "s")
    assert engine.generate(PROMPTS, stop=stop) == local.generate(PROMPTS, stop=stop)
    ranks = [[s.ranks for s in e.score(PROMPTS, CONTINUATIONS)] for e in (engine, local)]
    assert ranks[0] == ranks[1]


@pytest.mark.parametrize("rank", [1, 3, 16])
def test_a_low_rank_layer_over_every_kind_of_module_is_exact(
    engine: VLLMEngine,
    local: LocalEngine,
    low_rank: MakeLayer,
    rounding: Callable[[EditLayer], float],
    rank: int,
) -> None:
    layer = low_rank(rank, rank=rank, scale=0.2 / rank)
    assert engine.apply_layer(layer) == 0.0
    assert furthest(engine, local, layer) <= rounding(layer)
    assert any(
        a != b
        for a, b in zip(engine.score(PROMPTS, CONTINUATIONS), engine.score(PROMPTS, CONTINUATIONS, layer), strict=True)
    )


def test_a_composed_space_of_many_edits_is_exact(
    engine: VLLMEngine, local: LocalEngine, low_rank: MakeLayer, rounding: Callable[[EditLayer], float]
) -> None:
    modules = ["model.layers.0.mlp.down_proj", "model.layers.4.mlp.down_proj", "model.layers.5.self_attn.o_proj"]
    edits = [low_rank(seed, rank=2, modules=modules).edits[0] for seed in range(8)]
    layer = BASE.with_edits(*edits)
    assert engine.apply_layer(layer) == 0.0
    assert furthest(engine, local, layer) <= rounding(layer)


def test_a_dense_change_of_a_rank_within_the_limit_is_exact(
    engine: VLLMEngine, local: LocalEngine, dense: MakeLayer, rounding: Callable[[EditLayer], float]
) -> None:
    layer = dense(1, rank=5)
    assert engine.apply_layer(layer) <= 1e-9
    assert furthest(engine, local, layer) <= rounding(layer)


def test_a_change_beyond_the_rank_limit_is_served_with_its_residual_told(
    engine: VLLMEngine, dense: MakeLayer, low_rank: MakeLayer
) -> None:
    assert 0.5 < engine.apply_layer(dense(2)) < 1.0
    many = BASE.with_edits(*(low_rank(seed, rank=4).edits[0] for seed in range(6)))
    assert 0.0 < engine.apply_layer(many) < 0.5


def test_requests_under_several_layers_at_once_get_their_own(
    engine: VLLMEngine, local: LocalEngine, low_rank: MakeLayer, rounding: Callable[[EditLayer], float]
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    layers = [BASE, *(low_rank(100 + seed, scale=0.12) for seed in range(10))]
    expected = [local.score(PROMPTS, CONTINUATIONS, layer) for layer in layers]
    allowed = [rounding(layer) for layer in layers]
    with ThreadPoolExecutor(8) as pool:
        for layer, found in zip(
            layers * 2, pool.map(lambda one: engine.score(PROMPTS, CONTINUATIONS, one), layers * 2), strict=True
        ):
            i = layers.index(layer)
            for s, m in zip(found, expected[i], strict=True):
                assert s.logprobs == pytest.approx(m.logprobs, abs=allowed[i])


def test_a_stream_is_what_generate_returns_and_chat_keeps_markers(engine: VLLMEngine, local: LocalEngine) -> None:
    for prompt in PROMPTS:
        assert "".join(engine.stream(prompt)) == engine.generate([prompt])[0]
    messages = [{"role": "user", "content": "Actually, the capital of France is Lyon."}]
    assert engine.chat(messages) == local.chat(messages)


def test_text_that_does_not_fit_the_context_is_refused_before_it_is_sent(engine: VLLMEngine) -> None:
    with pytest.raises(InvalidRequest, match="reads at most"):
        engine.generate(["France " * 3000])
    with pytest.raises(InvalidRequest, match="must be at least 1"):
        engine.generate(["France"], max_new_tokens=0)
    with pytest.raises(InvalidRequest, match="continuations"):
        engine.score(["a"], [])


def test_answers_near_the_end_of_the_context_stop_there(engine: VLLMEngine, local: LocalEngine) -> None:
    row = " and" * (engine.outline.context_length - 6)
    assert engine.generate([row, "France"], max_new_tokens=30) == local.generate([row, "France"], max_new_tokens=30)
