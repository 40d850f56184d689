from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ketools.core.errors import ModelError
from ketools.models.directory import directory_hash
from ketools.models.loading import load_editable

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "gpt2", "opt", "gpt_neox"]


@pytest.fixture
def model_dir(tiny_llama_dir: Path, tmp_path: Path) -> Path:
    """A copy of the tiny Llama that a test may break."""
    return Path(shutil.copytree(tiny_llama_dir, tmp_path / "copy"))


@pytest.mark.parametrize("family", FAMILIES)
def test_any_family_loads_frozen_in_eval_mode_and_fp32(tiny_model_dir: Callable[[str], Path], family: str) -> None:
    em = load_editable(tiny_model_dir(family))
    assert em.name == family
    assert em.context_length == 256
    assert not em.model.training
    assert all(p.dtype is torch.float32 and not p.requires_grad for p in em.model.parameters())


def test_weights_saved_as_fp16_are_loaded_as_fp32(tiny_llama_dir: Path, model_dir: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(tiny_llama_dir, dtype=torch.float16)
    half.save_pretrained(model_dir)
    em = load_editable(model_dir)
    for name, parameter in em.model.named_parameters():
        assert parameter.dtype is torch.float32
        assert torch.equal(parameter, half.get_parameter(name).float())


def test_sharded_weights_load(tiny_llama_dir: Path, model_dir: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    (model_dir / "model.safetensors").unlink()
    model.save_pretrained(model_dir, max_shard_size="30KB")
    ids = torch.tensor([[0, 9, 8]])
    with torch.no_grad():
        assert torch.equal(load_editable(model_dir).model(input_ids=ids).logits, model(input_ids=ids).logits)
    shard = sorted(model_dir.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelError, match=shard.name):
        load_editable(model_dir)


def test_loading_opens_no_connection_and_prints_nothing(
    tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    load_editable(tiny_llama_dir)
    assert capfd.readouterr() == ("", "")


def test_the_hash_is_of_content_not_of_place(tiny_llama_dir: Path, model_dir: Path) -> None:
    assert directory_hash(model_dir) == directory_hash(tiny_llama_dir)
    assert load_editable(model_dir).model_hash == directory_hash(tiny_llama_dir)


def test_the_hash_changes_with_one_weight_and_with_the_config(model_dir: Path) -> None:
    first = directory_hash(model_dir)
    weights = load_file(model_dir / "model.safetensors")
    weights["model.norm.weight"][0] += 1e-6
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    second = directory_hash(model_dir)
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    assert len({first, second, directory_hash(model_dir)}) == 3


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(model_dir: Path, name: str) -> None:
    (model_dir / name).unlink()
    with pytest.raises(ModelError, match=name.replace(".", r"\.")):
        load_editable(model_dir)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(model_dir: Path, name: str, share: float) -> None:
    content = (model_dir / name).read_bytes()
    (model_dir / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=name.replace(".", r"\.") + " is corrupt"):
        load_editable(model_dir)


def test_a_corrupt_tokenizer_is_a_model_error(model_dir: Path) -> None:
    (model_dir / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="The tokenizer in"):
        load_editable(model_dir)


def test_a_config_of_an_unknown_architecture_is_a_model_error(model_dir: Path) -> None:
    (model_dir / "config.json").write_text('{"model_type": "no-such-architecture"}')
    with pytest.raises(ModelError, match="no-such-architecture"):
        load_editable(model_dir)


def test_weights_that_lack_a_tensor_are_refused_rather_than_made_up(model_dir: Path) -> None:
    weights = load_file(model_dir / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.down_proj"):
        load_editable(model_dir)


def test_a_config_that_does_not_fit_the_weights_is_refused(model_dir: Path) -> None:
    config = json.loads((model_dir / "config.json").read_text())
    (model_dir / "config.json").write_text(json.dumps(config | {"intermediate_size": 50}))
    with pytest.raises(ModelError, match="mlp"):
        load_editable(model_dir)


def test_a_path_that_is_no_directory_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a directory"):
        load_editable(tmp_path / "nowhere")


def test_an_index_that_leads_out_of_the_directory_is_refused(model_dir: Path) -> None:
    (model_dir / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../other.safetensors"}}')
    with pytest.raises(ModelError, match="index"):
        load_editable(model_dir)
