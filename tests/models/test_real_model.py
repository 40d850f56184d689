"""SmolLM2 loads as the families' tiny models do: bf16, tied embeddings, grouped heads, a chat template."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from ketools.core.requests import chat_prompt
from ketools.engines.local import LocalEngine
from ketools.models.catalogue import entry_of
from ketools.models.directory import describe, read_json
from ketools.models.text import encode_prompt, stop_ids

QUESTION = chat_prompt("What is the capital of France?")


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> Iterator[LocalEngine]:
    with closing(LocalEngine(smollm2)) as engine:
        yield engine


def test_it_is_the_model_that_the_catalogue_promises(smollm2: Path) -> None:
    found = describe(smollm2)
    assert (found.family, found.parameters) == ("llama", 134_515_008)
    assert found.model_hash == "10eaea241cb8e4103a69876eeb63c022"
    record = read_json(smollm2 / "ketools-model.json")
    entry = entry_of("smollm2-135m-instruct")
    assert entry is not None
    assert (record["sha256"], record["licence"]) == (entry.sha256, "Apache-2.0")


def test_it_answers_in_chat_and_stops_at_the_end_of_its_turn(engine: LocalEngine) -> None:
    assert engine.generate([QUESTION]) == ["The capital of France is Paris."]
    em = engine.editable
    assert stop_ids(em) == {em.tokenizer.convert_tokens_to_ids("<|im_end|>")}


def test_it_continues_text(engine: LocalEngine) -> None:
    (answer,) = engine.generate(["The mother tongue of Danielle Darrieux is"], max_new_tokens=4)
    assert answer.startswith("French")


def test_the_prompt_is_in_the_chat_template_with_each_control_token_once(engine: LocalEngine) -> None:
    em = engine.editable
    text = em.tokenizer.decode(encode_prompt(em, QUESTION))
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|im_start|>") == 3


def test_digits_are_tokens_of_their_own_and_any_script_survives(engine: LocalEngine) -> None:
    tokenizer = engine.editable.tokenizer
    assert tokenizer.tokenize("In 1984") == ["In", "Ġ", "1", "9", "8", "4"]
    for text in ("北京 is Пекин", "it's  12.5\n\n\tnaïve — 🙂", "²³½"):
        assert tokenizer.decode(tokenizer(text)["input_ids"], clean_up_tokenization_spaces=False) == text


def test_head_and_embedding_share_one_weight(engine: LocalEngine) -> None:
    model = engine.editable.model
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.dtype is torch.float32
    assert engine.editable.structure.hidden_size == 576 and len(engine.editable.structure.blocks) == 30
