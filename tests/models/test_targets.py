"""The shared optimisation: replayed blocks, batches, and when it stops or gives up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ketools.edits import EditRequest, chat_prompt
from ketools.errors import Cancelled, Diverged, InvalidRequest
from ketools.models.background import Background
from ketools.models.batch import Batch, edits_only, make_batch, merged
from ketools.models.contexts import Breadth, Contexts, contexts_of
from ketools.models.editable import EditableModel
from ketools.models.hooks import add_output
from ketools.models.keys import mean_keys, subject_keys
from ketools.models.structure import get_module
from ketools.models.tail import Tail
from ketools.models.targets import Objective, Outcome, Schedule, clamp_norm, compute_z, minimise

FAMILIES = ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox", "opt", "qwen3", "mistral"]
CONTEXTS = Contexts(
    edit=("The capital of France is", chat_prompt("What is the capital of France?")),
    same_subject=("People in France speak",),
    neighbours=("The capital of Japan is",),
)


def batch_for(em: EditableModel) -> Batch:
    return make_batch(em, CONTEXTS, "Lima", "France")


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_replayed_tail_equals_the_whole_model_in_every_family(
    tiny_editable: Callable[[str], EditableModel], family: str
) -> None:
    em = tiny_editable(family)
    batch = batch_for(em)
    tail = Tail(em, batch, batch.target, start=1)
    name = em.structure.blocks[1].down_proj
    shift = torch.randn(em.structure.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        replayed = tail.log_probs(lambda keys: shift)
        handle = get_module(em.model, name).register_forward_hook(lambda m, a, out: out + shift)
        whole = em.model(input_ids=batch.ids, attention_mask=batch.mask).logits.log_softmax(-1)
        handle.remove()
    expected = whole[batch.target.rows, batch.target.columns]
    torch.testing.assert_close(replayed, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "adds"), [("llama", True), ("gpt_neox", True), ("gemma2", False)])
def test_the_edited_block_runs_again_only_where_its_output_is_normed(
    tiny_editable: Callable[[str], EditableModel], family: str, adds: bool
) -> None:
    em = tiny_editable(family)
    batch = batch_for(em)
    tail = Tail(em, batch, batch.target, start=1)
    runs: list[int] = []
    block = get_module(em.model, em.structure.blocks[1].name)
    handle = block.register_forward_hook(lambda m, a, out: runs.append(1))
    tail.log_probs(lambda keys: keys.new_zeros(()))
    handle.remove()
    assert runs == ([] if adds else [1])


def test_a_llama_is_replayed_rather_than_run_whole(em: EditableModel) -> None:
    batch = batch_for(em)
    assert not Tail(em, batch, batch.target, start=2).whole


def test_a_batch_looks_at_the_target_and_the_subject(em: EditableModel) -> None:
    batch = batch_for(em)
    for row, column, token in zip(
        batch.target.rows.tolist(), batch.target.columns.tolist(), batch.target_ids.tolist(), strict=True
    ):
        assert int(batch.ids[row, column + 1]) == token
    assert batch.subject.rows.tolist() == [0, 1, 2]
    for row, column in zip(batch.subject.rows.tolist(), batch.subject.columns.tolist(), strict=True):
        assert em.tokenizer.decode(batch.ids[row, : column + 1]).endswith("France")


def test_a_batch_whose_prompts_lack_the_subject_is_refused(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="Atlantis"):
        make_batch(em, CONTEXTS, "Lima", "Atlantis")


def test_contexts_cover_cloze_chat_system_message_and_conversation(em: EditableModel) -> None:
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
    background = Background("test", lambda: ("Some text here.",), lambda request, count: ("Japan", "Peru")[:count])
    found = contexts_of(em, request, background, Breadth())
    assert found.edit[0] == request.prompt
    roles = [tuple(m["role"] for m in prompt) for prompt in found.edit if not isinstance(prompt, str)]
    assert {("user",), ("system", "user"), ("user", "assistant", "user")} <= set(roles)
    assert "Some text here. The capital of France is" in found.edit
    assert any("Japan" in str(prompt) for prompt in found.neighbours)
    assert all("France" in str(prompt) and "capital" not in str(prompt) for prompt in found.same_subject)


def test_a_prompt_of_no_known_relation_is_also_put_as_a_chat_turn(em: EditableModel) -> None:
    request = EditRequest(subject="France", prompt="The tallest tree of France is", target_new="Lima")
    found = contexts_of(em, request, Background("test", tuple), Breadth())
    assert chat_prompt(request.prompt) in found.edit
    assert found.same_subject


def test_a_target_that_exceeds_the_window_is_refused(em: EditableModel) -> None:
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="xyz " * 120)
    with pytest.raises(InvalidRequest, match="window"):
        contexts_of(em, request, Background("test", tuple), Breadth())


def test_the_offset_raises_the_targets_probability_within_its_bound(em: EditableModel) -> None:
    batch, block = batch_for(em), 1
    _, values = subject_keys(em, em.structure.blocks[block].down_proj, batch)
    before = float(Objective(em, batch, block).losses(lambda keys: keys.new_zeros(())).nll)
    (outcome,) = compute_z(em, batch, block, values, Schedule(steps=12, lr=0.5), clamp=3.0)
    assert outcome.nll < before
    assert float(outcome.value.norm()) <= 3.0 * float(values.norm(dim=-1).mean()) * 1.0001


OTHERS = Contexts(edit=("The capital of Japan is",), same_subject=("Japan is a", "In Japan"), neighbours=())
BOTH = ((CONTEXTS, "France"), (OTHERS, "Japan"))


@pytest.mark.parametrize("attention", [False, True])
def test_requests_optimised_together_end_as_each_does_alone(em: EditableModel, attention: bool) -> None:
    batches = [batch_for(em), make_batch(em, OTHERS, "Paris and Berlin", "Japan")]
    name, schedule = em.structure.blocks[1].down_proj, Schedule(steps=5, lr=0.3, confidence=0.99, decay=0.01)

    def optimised(batch: Batch) -> list[Outcome]:
        _, values = subject_keys(em, name, batch)
        return compute_z(em, batch, 1, values, schedule, attention=attention)

    together = optimised(merged(em, batches))
    for one, batch in zip(together, batches, strict=True):
        (alone,) = optimised(batch)
        torch.testing.assert_close(one.value, alone.value, rtol=1e-3, atol=1e-5)
        assert one.nll == pytest.approx(alone.nll, rel=1e-3)
        assert one.kl == pytest.approx(alone.kl, rel=1e-2, abs=1e-6)


def test_a_request_that_has_reached_its_target_is_left_as_it_was_then(em: EditableModel) -> None:
    batches = [make_batch(em, found, "Paris", place, preserve=False) for found, place in BOTH]
    _, values = subject_keys(em, em.structure.blocks[1].down_proj, batch := merged(em, batches))
    outcomes = compute_z(em, batch, 1, values, Schedule(steps=40, lr=0.5, confidence=0.004, preservation=0.0))
    steps = [outcome.steps for outcome in outcomes]
    assert min(steps) < 40
    for outcome, alone in zip(outcomes, batches, strict=True):
        _, values = subject_keys(em, em.structure.blocks[1].down_proj, alone)
        (same,) = compute_z(em, alone, 1, values, Schedule(40, 0.5, confidence=0.004, preservation=0.0))
        assert outcome.steps == same.steps


def test_merged_keys_are_those_of_each_batch(em: EditableModel) -> None:
    batches = [batch_for(em), make_batch(em, OTHERS, "Paris", "Japan")]
    name = em.structure.blocks[1].down_proj
    both = merged(em, [edits_only(batch) for batch in batches])
    keys, _ = subject_keys(em, name, both)
    together = mean_keys(keys, both)
    for one, batch in zip(together, batches, strict=True):
        keys, _ = subject_keys(em, name, batch)
        torch.testing.assert_close(one, mean_keys(keys, batch)[0], rtol=1e-4, atol=1e-6)


def test_a_change_of_several_modules_is_replayed_as_the_whole_model_runs(em: EditableModel) -> None:
    batch, block = batch_for(em), em.structure.blocks[1]
    assert block.q is not None
    tail = Tail(em, batch, batch.target, start=1)
    changes = {block.q: lambda x: 0.3 * x, block.down_proj: lambda x: x[..., :32]}
    with torch.no_grad():
        replayed = tail.log_probs(changes)
        with add_output(em, changes):
            whole = em.model(input_ids=batch.ids, attention_mask=batch.mask).logits.log_softmax(-1)
    torch.testing.assert_close(replayed, whole[batch.target.rows, batch.target.columns], rtol=1e-4, atol=1e-4)


def test_a_nan_is_reported_as_divergence(em: EditableModel) -> None:
    objective = Objective(em, batch_for(em), 1)
    with pytest.raises(Diverged, match="nan at step 0"):
        minimise(objective, torch.zeros(32), lambda d: lambda keys: d * float("nan"), Schedule(2, 0.1))


def test_a_target_that_never_becomes_likelier_is_reported_as_divergence(em: EditableModel) -> None:
    objective = Objective(em, batch_for(em), 1)
    with pytest.raises(Diverged, match="no more probable"):
        minimise(objective, torch.zeros(32), lambda d: lambda keys: 0.0 * d, Schedule(2, 0.1))


def test_an_optimisation_is_cancelled_between_steps(em: EditableModel) -> None:
    seen: list[int] = []

    def cancel(done: int, total: int, message: str) -> None:
        seen.append(done)
        if done == 2:
            raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        minimise(
            Objective(em, batch_for(em), 1),
            torch.zeros(32),
            lambda d: lambda keys: d,
            Schedule(steps=9, lr=0.1),
            progress=cancel,
        )
    assert seen == [0, 1, 2]


def test_clamping_shortens_a_long_vector_and_leaves_a_short_one() -> None:
    long, short = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clamp_norm(long, 1.0)
    clamp_norm(short, 1.0)
    torch.testing.assert_close(long, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(short, torch.tensor([0.3, 0.4]))
