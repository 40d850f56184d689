"""Causal tracing and the logit lens against plain runs of the model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ketools.atlas import weights_path
from ketools.core.errors import Cancelled, InvalidRequest
from ketools.core.requests import chat_prompt
from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable
from ketools.models.text import encode_pair
from ketools.models.tracing import STATES, causal_trace, lens_says, logit_lens, subject_span

PROMPT = "The capital of France is"


@pytest.fixture
def em(tiny_editable: Callable[[str], EditableModel]) -> EditableModel:
    return tiny_editable("llama")


def clean_probabilities(em: EditableModel) -> torch.Tensor:
    with torch.no_grad():
        ids = torch.tensor([em.tokenizer(PROMPT)["input_ids"]])
        chances: torch.Tensor = em.model(input_ids=ids).logits[0, -1].softmax(-1)
    return chances


def test_restoring_the_last_state_of_the_last_block_restores_the_prediction(em: EditableModel) -> None:
    trace = causal_trace(em, PROMPT, "France", samples=3)
    assert trace.clean == pytest.approx(float(clean_probabilities(em).max()), rel=1e-4)
    assert float(trace.restored["hidden"][-1, -1]) == pytest.approx(trace.clean, rel=1e-4)
    assert trace.corrupted != pytest.approx(trace.clean, rel=1e-3)


def test_restoring_what_the_noise_cannot_reach_changes_nothing(em: EditableModel) -> None:
    trace = causal_trace(em, PROMPT, "France", "Lima", samples=3)
    first, last = trace.subject
    assert "".join(trace.tokens[first : last + 1]).strip() == "France"
    for kind in STATES:
        assert trace.restored[kind].shape == (3, len(trace.tokens))
        untouched = trace.restored[kind][:, :first]
        torch.testing.assert_close(untouched, torch.full_like(untouched, trace.corrupted), rtol=1e-3, atol=1e-7)


def test_without_noise_every_run_is_the_clean_one(em: EditableModel) -> None:
    trace = causal_trace(em, PROMPT, "France", noise=0.0, samples=1)
    assert trace.corrupted == pytest.approx(trace.clean, rel=1e-4)
    for kind in STATES:
        torch.testing.assert_close(
            trace.restored[kind], torch.full_like(trace.restored[kind], trace.clean), rtol=1e-3, atol=1e-7
        )


def test_a_question_is_traced_in_the_chat_template(em: EditableModel) -> None:
    prompt = chat_prompt("What is the capital of France?")
    first, last = subject_span(em, prompt, "France")
    trace = causal_trace(em, prompt, "France", samples=1)
    assert "France" in "".join(trace.tokens[first : last + 1])


def test_a_subject_that_the_prompt_lacks_is_refused(em: EditableModel) -> None:
    with pytest.raises(InvalidRequest, match="Atlantis"):
        causal_trace(em, PROMPT, "Atlantis")


def test_a_trace_is_cancelled_between_blocks(em: EditableModel) -> None:
    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        causal_trace(em, PROMPT, "France", samples=1, progress=cancel)


@pytest.mark.parametrize("answer", ["Paris", "Lima. The", "Paris is"])
def test_a_block_says_an_answer_when_the_lens_reads_every_token_of_it(em: EditableModel, answer: str) -> None:
    ids, told = encode_pair(em, PROMPT, answer)
    with torch.no_grad():
        out = em.model(input_ids=torch.tensor([ids + told[:-1]]), output_hidden_states=True)
        lens = [em.model.lm_head(em.model.model.norm(state)) for state in out.hidden_states[1:-1]]
    said = [scores[0, len(ids) - 1 :].argmax(-1).tolist() for scores in (*lens, out.logits)]
    assert lens_says(em, PROMPT, answer) == [one == told for one in said]


def test_what_the_bundled_model_knows_is_read_off_its_last_blocks_and_not_off_its_first() -> None:
    said = lens_says(load_editable(weights_path()), PROMPT, "Paris")
    assert said[-1] and not said[0]


def test_the_lens_reads_the_models_own_prediction_after_the_last_block(em: EditableModel) -> None:
    readings, chances = logit_lens(em, PROMPT, "Lima"), clean_probabilities(em)
    token = em.tokenizer(" Lima", add_special_tokens=False)["input_ids"][0]
    assert [reading.block for reading in readings] == [0, 1, 2]
    assert readings[-1].probability == pytest.approx(float(chances[token]), rel=1e-4)
    assert readings[-1].says == em.tokenizer.decode([int(chances.argmax())])
    assert readings[-1].rank == int((chances > chances[token]).sum())
