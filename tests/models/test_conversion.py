"""GGUF files become ordinary directories with the same weights and tokens, or a clear error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.errors import ModelError
from ketools.core.requests import chat_prompt
from ketools.models.conversion import convert_gguf
from ketools.models.directory import check_directory, directory_hash, read_json
from ketools.models.editable import EditableModel
from ketools.models.gguf_header import read_header
from ketools.models.loading import load_editable
from ketools.models.text import encode_prompt, render, stop_ids

Write = Callable[..., Path]
PROMPTS = ("The capital of France is", "In 1984 it's  12.50\n\tor £9 — 北京", chat_prompt("Who wrote the book?"))


@pytest.fixture(scope="session")
def tiny_gguf(write_gguf: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="session")
def converted(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> EditableModel:
    folder = tmp_path_factory.mktemp("converted")
    convert_gguf(tiny_gguf, folder)
    check_directory(folder)
    return load_editable(folder)


def test_weights_tokens_and_template_are_those_of_the_file(
    converted: EditableModel, tiny_editable: Callable[[str], EditableModel]
) -> None:
    original = tiny_editable("llama")
    for prompt in PROMPTS:
        ids = encode_prompt(original, prompt)
        assert encode_prompt(converted, prompt) == ids
        assert render(converted, prompt) == render(original, prompt)
        with torch.no_grad():
            logits = [em.model(input_ids=torch.tensor([ids])).logits for em in (original, converted)]
        assert torch.equal(*logits)
    assert stop_ids(converted) == stop_ids(original)
    assert converted.context_length == original.context_length


def test_the_same_file_gives_the_same_bytes(tiny_gguf: Path, converted: EditableModel, tmp_path: Path) -> None:
    convert_gguf(tiny_gguf, tmp_path)
    assert directory_hash(tmp_path) == converted.model_hash
    assert "transformers_version" not in read_json(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (GGMLQuantizationType.F32, "float32"),
        (GGMLQuantizationType.F16, "float16"),
        (GGMLQuantizationType.Q8_0, "bfloat16"),
    ],
)
def test_float_files_keep_their_type_and_quantised_ones_become_bf16(
    write_gguf: Write, tmp_path: Path, kind: GGMLQuantizationType, dtype: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    convert_gguf(write_gguf(tmp_path / "tiny.gguf", kind=kind), folder)
    assert read_json(folder / "config.json")["dtype"] == dtype
    load_editable(folder)


def test_generation_stops_at_the_end_of_a_turn_too(write_gguf: Write, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    convert_gguf(write_gguf(tmp_path / "tiny.gguf", turn_end=2), folder)
    assert stop_ids(load_editable(folder)) == {1, 2}


def test_files_beside_the_gguf_are_not_read(write_gguf: Write, tmp_path: Path) -> None:
    folder, beside = tmp_path / "model", tmp_path / "download"
    folder.mkdir()
    beside.mkdir()
    file = write_gguf(beside / "tiny.gguf")
    for name in ("config.json", "tokenizer_config.json"):
        (beside / name).write_text(json.dumps({"auto_map": {"AutoConfig": "evil.X"}, "model_type": "evil"}))
    (beside / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    convert_gguf(file, folder)
    assert read_json(folder / "config.json")["model_type"] == "llama"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"architecture": "clip"}, "architecture 'clip'"),
        ({"tokenizer": "bert"}, "tokenizer"),
        ({"splitter": "klingon"}, "'klingon'"),
        ({"extra": ("rope_freqs.weight",)}, "rope_freqs"),
    ],
)
def test_what_cannot_be_converted_exactly_is_refused(
    write_gguf: Write, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError, match=says):
        convert_gguf(write_gguf(tmp_path / "odd.gguf", **changes), folder)
    assert not list(folder.iterdir())


@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_called_incomplete(
    tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory, share: float
) -> None:
    data = tiny_gguf.read_bytes()
    part = tmp_path_factory.mktemp("cut") / "part.gguf"
    part.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"not a complete GGUF file.*Fetch it again"):
        read_header(part)


@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_header_with_a_wrong_byte_gives_a_header_or_a_model_error(
    tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    data = bytearray(tiny_gguf.read_bytes())
    data[position] = value
    file = tmp_path_factory.mktemp("flip") / "flip.gguf"
    file.write_bytes(data)
    try:
        read_header(file)
    except ModelError as error:
        assert "Fetch it again" in str(error)
