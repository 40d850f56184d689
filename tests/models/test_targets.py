"""The shared optimisation: replayed blocks, batches, and when it stops or gives up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch

from ketools.core.errors import Cancelled, Diverged, InvalidRequest
from ketools.core.requests import EditRequest, chat_prompt
from ketools.models import batch as batches
from ketools.models.background import Background
from ketools.models.batch import Batch, make_batch, merged
from ketools.models.contexts import Contexts, contexts_of
from ketools.models.editable import EditableModel
from ketools.models.hooks import add_output, capture
from ketools.models.keys import confidences, read, read_keys
from ketools.models.options import Breadth, FactToken, Schedule
from ketools.models.sites import Sites, sites_of
from ketools.models.structure import get_module
from ketools.models.tail import Change, Changes, Tail
from ketools.models.targets import PATIENCE, Objective, TargetOutcome, compute_z, minimise, minimise_each

FAMILIES = ["llama", "gemma2", "gemma3", "gpt2", "gpt_neox", "opt", "qwen3", "mistral"]
CONTEXTS = Contexts(
    edit=("The capital of France is", chat_prompt("What is the capital of France?")),
    same_subject=("People in France speak",),
    neighbours=("The capital of Japan is",),
)


def batch_for(em: EditableModel) -> Batch:
    return make_batch(em, CONTEXTS, "Lima", "France")


def values_at(em: EditableModel, batch: Batch, sites: Sites, name: str) -> torch.Tensor:
    return read(em, batch, sites.at, outputs=[name])[1][name]


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("stops", [True, False])
def test_a_turn_is_taught_to_end_as_the_model_ends_its_own(
    tiny_editable: Callable[[str], EditableModel], family: str, stops: bool
) -> None:
    em = tiny_editable(family)
    with_stop, without = (make_batch(em, CONTEXTS, target, "France") for target in ("Lima!", "Lima"))
    full_stop = make_batch(em, CONTEXTS, "Lima", "France").target_ids[1]  # the cloze's end
    ends = without.target_ids[without.target.rows == 1][-1]
    assert len(with_stop.target_ids) == len(without.target_ids) + 1, "any other mark is kept"

    def habit(module: torch.nn.Module, args: object, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_fill(-1, full_stop if stops else ends, 100.0)

    handle = get_module(em.model, em.structure.lm_head).register_forward_hook(habit)
    found = make_batch(em, CONTEXTS, "Lima.", "France")
    handle.remove()
    cloze, turn = (found.target_ids[found.target.rows == row].tolist() for row in (0, 1))
    expected = without.target_ids[without.target.rows == 1].tolist()
    assert cloze == without.target_ids[without.target.rows == 0].tolist()
    assert turn == ([*expected[:-1], int(full_stop), int(ends)] if stops else expected)


def test_a_target_without_its_end_has_no_full_stop(em: EditableModel) -> None:
    found, bare = (make_batch(em, CONTEXTS, target, "France", ended=False) for target in ("Lima.", "Lima"))
    assert found.target_ids.tolist() == bare.target_ids.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_replayed_tail_equals_the_whole_model_in_every_family(
    tiny_editable: Callable[[str], EditableModel], family: str
) -> None:
    em = tiny_editable(family)
    batch = batch_for(em)
    tail, again = (Tail(em, batch, batch.target, start=1) for _ in range(2))
    name = em.structure.blocks[1].down_proj
    shift = torch.randn(em.structure.hidden_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        replayed, anew = (one.log_probs(lambda keys: shift) for one in (tail, again))
        handle = get_module(em.model, name).register_forward_hook(lambda m, a, out: out + shift)
        whole = em.model(input_ids=batch.ids, attention_mask=batch.mask).logits.log_softmax(-1)
        handle.remove()
    expected = whole[batch.target.rows, batch.target.columns]
    torch.testing.assert_close(replayed, expected, rtol=1e-4, atol=1e-4)
    # Once it is known how a model replays, the places that matter are read by length.
    torch.testing.assert_close(anew, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again.base, tail.base, rtol=1e-4, atol=1e-4)
    for at in (batch.target, batch.subject):
        values = [one.values(at) for one in (tail, again)] + [read(em, batch, at, outputs=[name])[1][name]]
        torch.testing.assert_close(values[0], values[2], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(values[1], values[2], rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_the_offset_raises_the_targets_probability_within_its_bound_in_every_family(
    tiny_editable: Callable[[str], EditableModel], family: str
) -> None:
    em = tiny_editable(family)
    batch, block = batch_for(em), 0
    sites = sites_of(batch, "subject_last")
    values = values_at(em, batch, sites, em.structure.blocks[block].down_proj)
    before = float(Objective(em, batch, block).losses(lambda keys: keys.new_zeros(())).nll)
    (outcome,) = compute_z(em, batch, block, sites, Schedule(steps=12, lr=0.5), clamp=3.0)
    assert outcome.nll < before
    assert outcome.value.shape == (1, 32)
    assert float(outcome.value.norm()) <= 3.0 * float(values[sites.edit].norm(dim=-1).mean()) * 1.0001


OTHERS = Contexts(edit=("The capital of Japan is",), same_subject=("Japan is a", "In Japan"), neighbours=())
TOKENS: tuple[FactToken, ...] = ("subject_last", "prompt_last")
BOTH = ((CONTEXTS, "France"), (OTHERS, "Japan"))


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("attention", [False, True])
def test_requests_optimised_together_end_as_each_does_alone(
    em: EditableModel, attention: bool, token: FactToken
) -> None:
    batches = [batch_for(em), make_batch(em, OTHERS, "Paris and Berlin", "Japan")]
    schedule = Schedule(steps=5, lr=0.3, confidence=0.99, decay=0.01)

    def optimised(batch: Batch) -> list[TargetOutcome]:
        sites = sites_of(batch, token)
        return compute_z(em, batch, 1, sites, schedule, attention=attention)

    together = optimised(merged(em, batches))
    for one, batch in zip(together, batches, strict=True):
        (alone,) = optimised(batch)
        torch.testing.assert_close(one.value, alone.value, rtol=1e-3, atol=1e-5)
        assert one.nll == pytest.approx(alone.nll, rel=1e-3)
        assert one.kl == pytest.approx(alone.kl, rel=1e-2, abs=1e-6)


def test_a_request_that_has_reached_its_target_is_left_as_it_was_then(em: EditableModel) -> None:
    batches = [make_batch(em, found, "Paris", place, preserve=False) for found, place in BOTH]
    schedule = Schedule(40, 0.5, confidence=0.004, preservation=0.0)

    def optimised(batch: Batch) -> list[TargetOutcome]:
        sites = sites_of(batch, "subject_last")
        return compute_z(em, batch, 1, sites, schedule)

    outcomes = optimised(merged(em, batches))
    steps = [outcome.steps for outcome in outcomes]
    assert min(steps) < 40
    for outcome, alone in zip(outcomes, batches, strict=True):
        (same,) = optimised(alone)
        assert outcome.steps == same.steps


@pytest.mark.parametrize("token", TOKENS)
def test_keys_of_many_requests_are_those_of_each(em: EditableModel, token: FactToken) -> None:
    batches = [batch_for(em), make_batch(em, OTHERS, "Paris", "Japan")]
    name = em.structure.blocks[1].down_proj
    together = read_keys(em, [merged(em, batches)], token, name)
    apart = read_keys(em, batches, token, name)
    torch.testing.assert_close(together.means, apart.means, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(together.states, apart.states, rtol=1e-4, atol=1e-6)
    one, other = (found.spared.T @ found.spared for found in (together, apart))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_what_is_read_is_what_the_model_computes_in_one_padded_batch(em: EditableModel) -> None:
    batch, name = batch_for(em), em.structure.blocks[1].down_proj
    read_, written = read(em, batch, batch.target, [name], [name])
    keys, values = read_[name], written[name]
    with torch.no_grad(), capture(em, [name], inputs=True) as inputs, capture(em, [name]) as outputs:
        em.model(input_ids=batch.ids, attention_mask=batch.mask)
    rows, columns = batch.target.rows, batch.target.columns
    torch.testing.assert_close(keys, inputs[name][rows, columns], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(values, outputs[name][rows, columns], rtol=1e-4, atol=1e-6)


def test_at_the_prompts_end_every_different_token_of_the_target_is_a_value_of_its_own(em: EditableModel) -> None:
    batch = merged(em, [batch_for(em), make_batch(em, OTHERS, "Paris and Berlin", "Japan")])
    sites = sites_of(batch, "prompt_last")
    assert bool(sites.edit.all())
    for request in range(2):
        mine = sites.owner == request
        said = {
            (int(column) - min(batch.target.columns[batch.target.rows == row].tolist()), int(token))
            for row, column, token in zip(
                batch.target.rows[mine].tolist(),
                batch.target.columns[mine].tolist(),
                batch.target_ids[mine],
                strict=True,
            )
        }
        assert int(sites.slots[request]) == len(said) == int(sites.slot[mine].max()) + 1


def test_confidence_is_the_least_probable_token_of_any_context(em: EditableModel) -> None:
    batch = merged(em, [batch_for(em), make_batch(em, OTHERS, "Paris", "Japan")])
    with torch.no_grad():
        whole = em.model(input_ids=batch.ids, attention_mask=batch.mask).logits.softmax(-1)
    said = whole[batch.target.rows, batch.target.columns].gather(1, batch.target_ids[:, None])[:, 0]
    owner = batch.owner[batch.target.rows]
    expected = torch.stack([said[owner == request].min() for request in range(2)])
    torch.testing.assert_close(confidences(em, batch), expected, rtol=1e-4, atol=1e-8)


def test_behind_the_last_block_only_what_is_looked_at_is_computed(em: EditableModel) -> None:
    batch, last = batch_for(em), len(em.structure.blocks) - 1
    tail = Tail(em, batch, batch.target, start=last)
    assert tail.keys.shape[:2] == (len(batch.target), 1)
    found, inside = tail.places(batch.target)
    assert found.tolist() == list(range(len(batch.target)))
    assert not bool(tail.places(batch.subject)[1].all())
    assert bool(inside.all())


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


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
def test_rows_of_different_lengths_that_run_apart_say_what_they_say_together(
    tiny_editable: Callable[[str], EditableModel], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    em = tiny_editable(family)
    batch, module = batch_for(em), em.structure.blocks[1].down_proj
    width = em.structure.linear_names[module][1]
    places = torch.randn(*batch.ids.shape, width, generator=torch.Generator().manual_seed(1))
    changes: list[Changes] = [
        lambda keys: 0.5 * keys[..., :width],
        lambda keys: places,
        {module: lambda x: 0.5 * x[..., :width]},
        {module: lambda x: places},
    ]

    def found() -> list[torch.Tensor]:
        tail = Tail(em, batch, batch.target, start=1)
        with torch.no_grad():
            return [tail.base, *(tail.log_probs(change) for change in changes)]

    together = found()
    monkeypatch.setattr(batches, "PADDING", 0)
    assert len(list(batches.by_length(batch.mask.sum(1), torch.arange(len(batch.ids))))) > 1
    em.replayed.clear()
    for apart, expected in zip(found(), together, strict=True):
        torch.testing.assert_close(apart, expected, rtol=1e-4, atol=1e-4)


def test_a_nan_is_reported_as_divergence(em: EditableModel) -> None:
    objective = Objective(em, batch_for(em), 1)
    with pytest.raises(Diverged, match="nan at step 0"):
        minimise(objective, torch.zeros(32), lambda d: lambda keys: d * float("nan"), Schedule(2, 0.1))


def test_a_target_that_never_becomes_likelier_is_reported_as_divergence(em: EditableModel) -> None:
    objective = Objective(em, batch_for(em), 1)
    with pytest.raises(Diverged, match="no more probable"):
        minimise(objective, torch.zeros(32), lambda d: lambda keys: 0.0 * d, Schedule(2, 0.1))


def test_requests_that_come_to_nothing_are_named(em: EditableModel) -> None:
    batch = merged(em, [make_batch(em, found, "Paris", place, preserve=False) for found, place in BOTH])
    objective = Objective(em, batch, 1)

    def helps_one(d: torch.Tensor) -> Change:
        here = (objective.owner == 0).float()[:, None, None]
        return lambda keys: here * d[0]

    def found(required: bool) -> list[TargetOutcome]:
        schedule = Schedule(8, 0.1, confidence=0.999)
        return minimise_each(objective, torch.zeros(2, 32), helps_one, schedule, required=required)

    with pytest.raises(Diverged) as caught:
        found(required=True)
    assert caught.value.which == (1,)
    assert [outcome.steps > 0 for outcome in found(required=False)] == [True, False]


def test_a_certain_target_is_not_pursued_where_nothing_is_gained_any_more(em: EditableModel) -> None:
    batch = batch_for(em)
    objective = Objective(em, batch, 1)
    calls: list[int] = []

    def acting(x: torch.Tensor) -> Change:
        calls.append(1)
        return lambda keys: 0 * x + torch.linspace(-9, 9, em.structure.hidden_size)

    def steps(confidence: float) -> int:
        calls.clear()
        schedule = Schedule(steps=4 * PATIENCE, lr=0.1, confidence=confidence)
        with suppress(Diverged):
            minimise(objective, torch.zeros(em.structure.hidden_size), acting, schedule)
        return len(calls) - 1

    assert steps(confidence=1e-30) == PATIENCE  # what is preserved has changed for good
    assert steps(confidence=0.999) == 4 * PATIENCE


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
