from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ketools.core.errors import InvalidRequest, ModelError
from ketools.core.requests import Prompt, chat_prompt
from ketools.engines import local
from ketools.engines.base import Engine, cut
from ketools.engines.local import LocalEngine
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable
from ketools.models.structure import get_module, weight_of
from ketools.models.text import encode_pair, encode_prompt, pad

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "gpt2", "opt", "gpt_neox"]
LONG = "Imagine that the capital of France is Lima. The president of Brazil speaks Portuguese. Who?"
PROMPTS: list[Prompt] = [
    "The capital of France is",
    "Alice",
    chat_prompt("What is the capital of Japan?"),
    LONG,
    "Bob was born in",
]
Editable = Callable[[str], EditableModel]


def low_rank(em: EditableModel, seed: int, scale: float = 0.3) -> LowRankDelta:
    """Random factors of rank 2 on every third linear module of the blocks."""
    g = torch.Generator().manual_seed(seed)
    names = list(em.structure.linear_names)[seed % 3 :: 3]
    return LowRankDelta(
        "test",
        {
            name: (scale * torch.randn(2, inner, generator=g), scale * torch.randn(outer, 2, generator=g))
            for name in names
            for inner, outer in [em.structure.linear_names[name]]
        },
    )


def dense(em: EditableModel, seed: int, scale: float = 0.1) -> DenseDelta:
    g = torch.Generator().manual_seed(seed)
    name = em.structure.blocks[-1].down_proj
    inner, outer = em.structure.linear_names[name]
    return DenseDelta("test", {name: scale * torch.randn(outer, inner, generator=g)})


def layer_of(*artefacts: LowRankDelta | DenseDelta) -> EditLayer:
    return EditLayer(tuple(LiveEdit(f"e{i}", f"hash-{i}-{id(a)}", a) for i, a in enumerate(artefacts)))


def merged_logits(em: EditableModel, layer: EditLayer, prompts: list[Prompt]) -> Tensor:
    """transformers alone, with the layer's changes written into a copy of the weights; one by one."""
    model = copy.deepcopy(em.model)
    for module in model.modules():
        module._forward_hooks.clear()
    for edit in layer.edits:
        assert isinstance(edit.artefact, LowRankDelta | DenseDelta)
        if isinstance(edit.artefact, LowRankDelta):
            matrices = {name: b @ a for name, (a, b) in edit.artefact.factors.items()}
        else:
            matrices = dict(edit.artefact.deltas)
        for name, matrix in matrices.items():
            weight_of(get_module(model, name)).data += matrix
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([encode_prompt(em, p)])).logits[0, -1] for p in prompts]
    return torch.stack(rows)


@pytest.fixture(scope="module")
def engine(tiny_editable: Editable) -> LocalEngine:
    return LocalEngine(tiny_editable("llama"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_gives_the_logits_of_transformers_with_merged_weights(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    engine = LocalEngine(em)
    for layer in (layer_of(low_rank(em, 1)), layer_of(dense(em, 2)), layer_of(low_rank(em, 3), dense(em, 4))):
        ours, reference = engine.logits(PROMPTS, layer), merged_logits(em, layer, PROMPTS)
        torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5 * float(reference.abs().max()))
        assert (ours - engine.logits(PROMPTS)).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_base_logits_are_the_same_bits_before_during_and_after_layers_in_other_threads(
    tiny_editable: Editable, family: str
) -> None:
    em = tiny_editable(family)
    engine, layer = LocalEngine(em), layer_of(low_rank(em, 5))
    before, stop = engine.logits(PROMPTS), threading.Event()

    def keep_editing() -> int:
        calls = 0
        while not stop.is_set() or calls == 0:
            engine.logits(PROMPTS, layer)
            calls += 1
        return calls

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(keep_editing) for _ in range(2)]
        during = [engine.logits(PROMPTS) for _ in range(5)]
        stop.set()
        assert all(worker.result() for worker in workers)
    assert all(torch.equal(one, before) for one in [*during, engine.logits(PROMPTS)])


@pytest.mark.parametrize("family", FAMILIES)
def test_generation_is_the_greedy_search_of_transformers(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    engine = LocalEngine(em)
    for prompt, answer in zip(PROMPTS, engine.generate(PROMPTS, max_new_tokens=8), strict=True):
        ids = torch.tensor([encode_prompt(em, prompt)])
        out = em.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
        assert answer == em.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_its_prompts_do_one_by_one(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    engine, layer = LocalEngine(em), layer_of(low_rank(em, 6))
    alone = [engine.generate([prompt], layer, max_new_tokens=8)[0] for prompt in PROMPTS]
    assert engine.generate(PROMPTS, layer, max_new_tokens=8) == alone
    continuations = ["Paris", "works for Acme", "Tokyo", "I don't know.", "Berlin. The book"]
    together = engine.score(PROMPTS, continuations, layer)
    for i, score in enumerate(together):
        (single,) = engine.score([PROMPTS[i]], [continuations[i]], layer)
        assert single.ranks == score.ranks
        assert single.logprobs == pytest.approx(score.logprobs, abs=1e-4)


def test_earlier_tokens_are_handed_on_by_the_name_that_the_model_has_for_them(
    engine: LocalEngine, tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    em = load_editable(tiny_llama_dir)
    forward, names = em.model.forward, list[str]()

    def older(past_key_values: Any = None, **arguments: Any) -> SimpleNamespace:
        out = forward(**{engine.editable.cache_name: past_key_values}, **arguments)
        names.append("past_key_values")
        return SimpleNamespace(logits=out.logits, past_key_values=out[engine.editable.cache_name])

    monkeypatch.setattr(em.model, "forward", older)
    assert LocalEngine(em).generate(PROMPTS, max_new_tokens=8) == engine.generate(PROMPTS, max_new_tokens=8)
    assert len(names) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_generated_scores_as_greedy(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    engine, layer = LocalEngine(em), layer_of(low_rank(em, 7))
    rows = [encode_prompt(em, prompt) for prompt in PROMPTS]
    pairs = list(zip(rows, engine._answers(rows, [layer] * len(rows), 8), strict=True))
    assert any(answer for _, answer in pairs)
    assert all(score.greedy for score in engine._scores([pair for pair in pairs if pair[1]], layer))


def test_learnt_answers_are_generated_and_their_text_scores_as_greedy(tiny_llama_dir: Path) -> None:
    em = load_editable(tiny_llama_dir)
    prompts, answers = [PROMPTS[0], PROMPTS[2], LONG], ["Paris", "I don't know.", "Alice Müller"]
    pairs = [encode_pair(em, *pair) for pair in zip(prompts, answers, strict=True)]
    ids, mask = pad(em, [prompt + answer + [1] for prompt, answer in pairs])
    em.model.requires_grad_(True)
    optimiser = torch.optim.Adam(em.model.parameters(), lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        em.model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(mask == 0, -100)).loss.backward()
        optimiser.step()
    em.model.requires_grad_(False)
    engine = LocalEngine(em)
    assert engine.generate(prompts) == answers
    assert all(score.greedy for score in engine.score(prompts, answers))
    assert not any(score.greedy for score in engine.score(prompts, answers[1:] + answers[:1]))


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_log_softmax_of_transformers_in_double_precision(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    model = copy.deepcopy(em.model).double()
    (score,) = LocalEngine(em).score(["The capital of France is"], ["Tokyo, not Lima"])
    prompt = encode_prompt(em, "The capital of France is")
    ids = encode_prompt(em, "The capital of France is Tokyo, not Lima")
    with torch.no_grad():
        reference = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    expected = [float(reference[i - 1, ids[i]]) for i in range(len(prompt), len(ids))]
    ranks = [int((reference[i - 1] > reference[i - 1, ids[i]]).sum()) for i in range(len(prompt), len(ids))]
    assert score.logprobs == pytest.approx(expected, abs=1e-4)
    assert list(score.ranks) == ranks
    assert score.total == pytest.approx(sum(expected), abs=1e-3)


def test_undo_of_any_edit_restores_the_logits_bit_for_bit(engine: LocalEngine) -> None:
    em = engine.editable
    artefacts: list[LowRankDelta | DenseDelta] = [low_rank(em, 1), dense(em, 2), low_rank(em, 3)]
    full = layer_of(*artefacts)
    for i in range(3):
        never = EditLayer(tuple(e for e in full.edits if e.edit_id != f"e{i}"))
        assert torch.equal(engine.logits(PROMPTS, full.without(f"e{i}")), engine.logits(PROMPTS, never))
    assert torch.equal(engine.logits(PROMPTS, full.without("e0", "e1", "e2")), engine.logits(PROMPTS))


def test_no_call_changes_a_weight(engine: LocalEngine) -> None:
    em = engine.editable
    before = {name: p.clone() for name, p in em.model.named_parameters()}
    layer = layer_of(low_rank(em, 1), dense(em, 2))
    engine.apply_layer(layer)
    engine.generate(PROMPTS, layer, max_new_tokens=4)
    engine.score(PROMPTS, ["x"] * len(PROMPTS), layer)
    assert all(torch.equal(p, before[name]) for name, p in em.model.named_parameters())


def test_many_threads_in_different_layers_get_the_answers_of_their_own(engine: LocalEngine) -> None:
    em = engine.editable
    layers = [BASE, *(layer_of(low_rank(em, seed)) for seed in range(1, 8))]
    expected = [engine.generate(PROMPTS, layer, max_new_tokens=6) for layer in layers]
    scores = [engine.score(PROMPTS, ["Paris"] * 5, layer) for layer in layers]
    assert len({tuple(answers) for answers in expected}) == len(layers)
    barrier = threading.Barrier(len(layers))

    def client(i: int) -> bool:
        barrier.wait()
        for _ in range(3):
            if engine.generate(PROMPTS, layers[i], max_new_tokens=6) != expected[i]:
                return False
            if engine.score(PROMPTS, ["Paris"] * 5, layers[i]) != scores[i]:
                return False
            if "".join(engine.stream(PROMPTS[0], layers[i], max_new_tokens=6)) != expected[i][0]:
                return False
        return True

    with ThreadPoolExecutor(len(layers)) as pool:
        assert all(pool.map(client, range(len(layers))))


def test_streamed_pieces_make_up_the_generated_answer(engine: LocalEngine) -> None:
    for seed in range(6):
        layer = layer_of(low_rank(engine.editable, seed))
        for prompt in PROMPTS:
            (answer,) = engine.generate([prompt], layer, max_new_tokens=12)
            pieces = list(engine.stream(prompt, layer, max_new_tokens=12))
            assert "".join(pieces) == answer
            assert all(pieces)


def test_a_stream_leaves_the_base_model_to_its_consumer_between_pieces(engine: LocalEngine) -> None:
    layer = layer_of(low_rank(engine.editable, 1))
    base = engine.logits(PROMPTS)
    for _ in engine.stream(LONG, layer, max_new_tokens=12):
        assert torch.equal(engine.logits(PROMPTS), base)
        assert torch.is_grad_enabled()


def test_a_stream_that_is_closed_computes_nothing_more(engine: LocalEngine) -> None:
    steps: list[int] = []
    handle = engine.editable.model.register_forward_hook(lambda *args: steps.append(1))
    try:
        stream = engine.stream(LONG, max_new_tokens=100)
        next(iter(stream))
        taken = len(steps)
        stream.close()  # type: ignore[attr-defined]
    finally:
        handle.remove()
    assert taken == len(steps) < 100


def test_answers_end_at_any_of_the_configured_stop_tokens(tiny_llama_dir: Path) -> None:
    em = load_editable(tiny_llama_dir)
    row = encode_prompt(em, LONG)
    free = LocalEngine(em)._answers([row], [BASE], 12)[0]
    stop = next(token for i, token in enumerate(free) if i > 1 and token not in free[:i])
    em.model.generation_config.eos_token_id = [1, stop]
    engine = LocalEngine(em)
    assert engine._answers([row], [BASE], 12)[0] == free[: free.index(stop)]
    assert engine.generate([LONG], max_new_tokens=12) == [em.tokenizer.decode(free[: free.index(stop)]).strip()]


def test_an_answer_ends_behind_the_first_stop_and_costs_no_token_more(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.generate(PROMPTS, max_new_tokens=16)
    seen = [[c for c in text[2:-2] if c.isascii() and c.isprintable()] for text in whole]
    stop = [min(found) for found in seen if found][:2]
    assert engine.generate(PROMPTS, max_new_tokens=16, stop=stop) == [cut(text, stop).strip() for text in whole]
    steps: list[dict[int, int]] = []

    def decode(*arguments: Any) -> Iterator[tuple[dict[int, int], torch.Tensor]]:
        for ids, logits in LocalEngine._decode(engine, *arguments):
            steps.append(ids)
            yield ids, logits

    monkeypatch.setattr(engine, "_decode", decode)
    first = next(i for i, found in enumerate(seen) if found)
    engine.generate([PROMPTS[first]], max_new_tokens=16, stop=stop[:1])
    assert len(steps) < 16


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_that_have_ended_are_computed_no_further_and_the_others_stay_what_they_are(
    tiny_editable: Editable, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    em = tiny_editable(family)
    engine, layer, rows = LocalEngine(em), layer_of(low_rank(em, 9)), list[int]()
    whole = engine.generate(PROMPTS, layer, max_new_tokens=16)
    stop = sorted({text[1] for text in whole if len(text) > 4})[:2]
    monkeypatch.setattr(local, "FEW", 0)
    expected = engine.generate(PROMPTS, layer, max_new_tokens=16, stop=stop)
    monkeypatch.setattr(local, "FEW", 0.9)
    handle = em.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        assert engine.generate(PROMPTS, layer, max_new_tokens=16, stop=stop) == expected
    finally:
        handle.remove()
    assert rows[0] == len(PROMPTS) and rows == sorted(rows, reverse=True) and rows[-1] < rows[0]


def test_chat_continues_the_rendered_conversation_with_tools(engine: LocalEngine) -> None:
    em = engine.editable
    tools = [{"type": "function", "function": {"name": "edit_fact"}}]
    raw = engine.chat([{"role": "user", "content": "Hi"}], BASE, tools=tools, max_new_tokens=5)
    text = em.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tools=tools, add_generation_prompt=True, tokenize=False
    )
    ids = em.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert raw == em.tokenizer.decode(engine._answers([ids], [BASE], 5)[0]).strip()


def test_micro_batches_change_no_result(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, continuations = PROMPTS * 3, ["Paris", "Acme.", "I don't know."] * 5
    answers = engine.generate(prompts, max_new_tokens=4)
    scores = engine.score(prompts, continuations)
    sizes: list[int] = []
    handle = engine.editable.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setattr(local, "BATCH_TOKENS", 100)
    try:
        assert engine.generate(prompts, max_new_tokens=4) == answers
        rescored = engine.score(prompts, continuations)
    finally:
        handle.remove()
    assert max(sizes) <= 100
    assert [s.ranks for s in rescored] == [s.ranks for s in scores]
    for one, two in zip(rescored, scores, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


@given(
    rows=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 12)), max_size=40),
    predicted=st.integers(1, 30),
    padding=st.integers(0, 60),
)
def test_rows_are_scored_once_each_in_batches_within_the_bounds(
    rows: list[tuple[int, int]], predicted: int, padding: int
) -> None:
    batches = list(local._scored_together(rows, predicted, padding))
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        sizes = [rows[i][0] for i in batch]
        assert len(batch) == 1 or sum(rows[i][1] for i in batch) <= predicted
        assert len(batch) * max(sizes) - sum(sizes) <= padding


@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_runs_only_where_a_continuation_is_predicted(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    prompts, continuations = PROMPTS[:3], ["Paris", "works for Acme", "I don't know."]
    engine, head, rows = LocalEngine(em), get_module(em.model, em.structure.lm_head), list[int]()
    engine.score(prompts, continuations)  # tries rows of several sequences, once
    handle = head.register_forward_hook(lambda module, args, output: rows.append(output[..., 0].numel()))
    try:
        scores = engine.score(prompts, continuations)
    finally:
        handle.remove()
    assert sum(rows) == sum(len(score.ranks) for score in scores)


ALIKE = [f"The capital of {name} is" for name in ("France", "Japan", "Peru", "Brazil")]


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_that_begin_alike_score_as_they_do_alone_and_cost_fewer_tokens(
    tiny_editable: Editable, family: str
) -> None:
    em = tiny_editable(family)
    engine, layer, sizes = LocalEngine(em), layer_of(low_rank(em, 8)), list[int]()
    prompts: list[Prompt] = [*ALIKE, *(f"{prompt} not Paris but" for prompt in ALIKE), ALIKE[0]]
    together = engine.score(prompts, ["Lima"] * 9, layer)
    handle = em.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    try:
        alone = [engine.score([prompt], ["Lima"], layer)[0] for prompt in prompts]
        spent = sum(sizes)
        sizes.clear()
        assert engine.score(prompts, ["Lima"] * 9, layer) == together
    finally:
        handle.remove()
    assert [one.ranks for one in together] == [one.ranks for one in alone]
    for one, two in zip(together, alone, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)
    windowed = getattr(em.model.config, "sliding_window", None)  # 16 tokens: some prompts are longer
    assert windowed or sum(sizes) < spent / 2


def test_a_model_that_does_not_see_by_the_mask_scores_each_prompt_in_a_row_of_its_own(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    em = load_editable(tiny_llama_dir)
    expected = LocalEngine(em).score(PROMPTS, ["Paris"] * 5)
    forward = em.model.forward

    def deaf(attention_mask: Tensor, **arguments: Any) -> Any:
        return forward(attention_mask=attention_mask if attention_mask.dim() == 2 else None, **arguments)

    monkeypatch.setattr(em.model, "forward", deaf)
    for one, two in zip(LocalEngine(em).score(PROMPTS, ["Paris"] * 5), expected, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


def test_a_prompt_beyond_the_context_is_refused_with_the_limit(engine: LocalEngine) -> None:
    long = "a b " * 300
    with pytest.raises(InvalidRequest, match="at most 255"):
        engine.generate([long])
    with pytest.raises(InvalidRequest, match="at most 255"):
        list(engine.stream(long))
    with pytest.raises(InvalidRequest, match="at most 256"):
        engine.score(["a"], [long])
    with pytest.raises(InvalidRequest, match="at most 256"):
        engine.logits([long])


def test_the_room_after_a_prompt_is_what_generation_and_scoring_have(engine: LocalEngine) -> None:
    fitting = next(n for n in range(300) if engine.room("a " * n + "b") <= 1)
    (answer,) = engine.generate(["a " * fitting + "b"])
    assert isinstance(answer, str)
    with pytest.raises(InvalidRequest, match="at most 255"):
        engine.generate(["a " * (fitting + 1) + "b"])
    pairs = next(n for n in range(300) if engine.room("b", "a " * n + "a") <= 0)
    assert len(engine.score(["b"], ["a " * pairs + "a"])) == 1
    with pytest.raises(InvalidRequest, match="at most 256"):
        engine.score(["b"], ["a " * (pairs + 1) + "a"])
    with pytest.raises(InvalidRequest, match="empty"):
        engine.room(" ")


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_generation_stops_where_the_context_is_full(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    engine = LocalEngine(em)
    engine._stops = frozenset()
    rows = [[0, *([9] * 250)], [0, 9, 9]]
    near, far = engine._answers(rows, [BASE] * 2, 20)
    assert (len(near), len(far)) == (5, 20)
    assert engine._answers(rows[1:], [BASE], 20) == [far]


@pytest.mark.parametrize("budget", [0, -3])
def test_a_budget_below_one_token_is_refused(engine: LocalEngine, budget: int) -> None:
    with pytest.raises(InvalidRequest, match="max_new_tokens"):
        engine.generate(["Hello"], max_new_tokens=budget)


def test_nothing_asked_is_nothing_answered(engine: LocalEngine) -> None:
    assert engine.generate([]) == []
    assert engine.score([], []) == []


def test_prompts_and_continuations_must_pair_up(engine: LocalEngine) -> None:
    with pytest.raises(InvalidRequest, match="2 prompts but 1 continuations"):
        engine.score(["a", "b"], ["c"])


def test_apply_layer_refuses_foreign_misfitting_and_non_finite_changes(engine: LocalEngine) -> None:
    name = engine.editable.structure.blocks[0].down_proj
    engine.apply_layer(layer_of(low_rank(engine.editable, 1)))
    broken = torch.zeros(32, 48)
    broken[3, 4] = float("nan")
    cases: list[tuple[LowRankDelta | DenseDelta, str]] = [
        (DenseDelta("t", {"transformer.h.0.mlp.c_proj": torch.zeros(32, 48)}), "another model"),
        (DenseDelta("t", {name: torch.zeros(48, 32)}), "sizes"),
        (LowRankDelta("t", {name: (torch.zeros(1, 48), torch.zeros(32, 2))}), "one size"),
        (DenseDelta("t", {name: broken}), "NaN or infinity"),
    ]
    for artefact, message in cases:
        with pytest.raises(InvalidRequest, match=message):
            engine.apply_layer(layer_of(artefact))


def test_an_engine_opens_a_directory_and_refuses_calls_once_closed(tiny_llama_dir: Path) -> None:
    engine: Engine = LocalEngine(tiny_llama_dir)
    assert engine.model_name == "llama"
    assert len(engine.model_hash) == 32
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.generate(["Hello"], BASE)
    with pytest.raises(ModelError, match="not a directory"):
        LocalEngine(tiny_llama_dir / "nowhere")
