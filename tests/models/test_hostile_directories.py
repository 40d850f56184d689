"""Code and pickles of a model directory never run, and nothing is asked on stdin, which may be the MCP channel."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import EngineRefused, ModelError
from ketools.engines.vllm.process import DATA_ONLY, VLLMFlags, VLLMServer
from ketools.models.directory import read_json
from ketools.models.loading import load_editable
from ketools.models.outline import read_outline
from ketools.retrieval.encoders import MiniLMEncoder, minilm_path

CODE = """
from pathlib import Path
Path({mark!r}).write_text("ran")
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Evil(LlamaConfig): pass
class EvilModel(LlamaForCausalLM): pass
class EvilTokenizer(PreTrainedTokenizerFast): pass
def generate(*args, **kwargs): pass
"""


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def put(file: Path, **entries: Any) -> None:
    """Add entries to a JSON file."""
    file.write_text(json.dumps((read_json(file) if file.exists() else {}) | entries))


def own_model(folder: Path, mark: Path) -> None:
    put(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.EvilModel"})


def own_family(folder: Path, mark: Path) -> None:
    own_model(folder, mark)
    put(folder / "config.json", model_type="evil", architectures=["EvilModel"])


def own_model_within(folder: Path, mark: Path) -> None:
    put(folder / "config.json", text_config={"auto_map": {"AutoConfig": "evil.Evil"}, "model_type": "evil"})


def own_tokenizer(folder: Path, mark: Path) -> None:
    put(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.EvilTokenizer", "evil.EvilTokenizer"]},
        tokenizer_class="EvilTokenizer",
    )


def own_attention(folder: Path, mark: Path) -> None:
    put(folder / "config.json", attn_implementation=f"{folder.parent}/evil")


def pickled_only(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))


def pickled_shard(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model-1.bin").write_bytes(pickle.dumps(Bomb(mark)))
    put(folder / "model.safetensors.index.json", weight_map={"model.norm.weight": "pytorch_model-1.bin"})


def shard_elsewhere(folder: Path, mark: Path) -> None:
    put(folder / "model.safetensors.index.json", weight_map={"model.norm.weight": "../other.safetensors"})


def adapter(folder: Path, mark: Path) -> None:
    put(folder / "adapter_config.json", peft_type="LORA", auto_mapping={"base_model_class": "evil.Evil"})
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(mark)))


HOSTILE = (
    own_model,
    own_family,
    own_model_within,
    own_tokenizer,
    own_attention,
    pickled_only,
    pickled_shard,
    shard_elsewhere,
    adapter,
)


@pytest.fixture
def hostile(tiny_llama_dir: Path, tmp_path: Path) -> Callable[[Callable[[Path, Path], None]], Path]:
    """Makes a copy of the tiny Llama hostile; its code would write the file `ran`."""

    def make(spoil: Callable[[Path, Path], None]) -> Path:
        folder = Path(shutil.copytree(tiny_llama_dir, tmp_path / "model"))
        for place in (folder / "evil.py", folder / "custom_generate" / "generate.py"):
            place.parent.mkdir(exist_ok=True)
            place.write_text(CODE.format(mark=str(tmp_path / "ran")))
        spoil(folder, tmp_path / "ran")
        return folder

    return make


@pytest.mark.parametrize("spoil", HOSTILE)
@pytest.mark.parametrize("load", [load_editable, read_outline])
def test_it_is_refused_and_nothing_of_it_runs(
    hostile: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    load: Callable[[Path], object],
    spoil: Callable[[Path, Path], None],
) -> None:
    def ask(*args: object) -> str:
        raise AssertionError("something was asked on stdin")

    monkeypatch.setattr("builtins.input", ask)
    folder = hostile(spoil)
    with pytest.raises(ModelError, match=str(folder)):
        load(folder)
    assert not (tmp_path / "ran").exists()


def harmless(folder: Path, mark: Path) -> None:
    """Pickles beside safetensors are not read, and code that nothing names is not run."""
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(mark)))
    (folder / "training_args.bin").write_bytes(pickle.dumps(Bomb(mark)))


def test_what_is_only_lying_there_is_not_touched(hostile: Callable[..., Path], tmp_path: Path) -> None:
    load_editable(hostile(harmless))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", [["serve"], ["--engine", "vllm", "ask", "Hi"]])
def test_a_command_ends_with_the_reason_and_reads_nothing_from_stdin(
    hostile: Callable[..., Path], tmp_path: Path, command: list[str]
) -> None:
    folder = hostile(own_family)
    base = [sys.executable, "-m", "ketools.cli.main", "--home", str(tmp_path / "home"), "--model", str(folder)]
    with subprocess.Popen(
        [*base, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdin and done.stdout and done.stderr
        done.stdin.write("y\n" * 5)
        done.stdin.flush()
        told = done.stderr.read()
        assert done.wait(300) == 1
        assert done.stdout.read() == ""
    assert told.splitlines()[-1].startswith("ketools: ") and "auto_map" in told, told
    assert "Traceback" not in told
    assert not (tmp_path / "ran").exists()


def test_an_encoder_directory_runs_no_code_either(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(minilm_path(), tmp_path / "encoder"))
    (folder / "evil.py").write_text(CODE.format(mark=str(tmp_path / "ran")))
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "evil.Evil"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="encoder"):
        MiniLMEncoder(folder).encode(["Hi"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("flag", ["--trust-remote-code", "--trust_remote_code", "--trust-remote-code=True"])
def test_a_vllm_that_would_trust_a_directory_is_not_started(tmp_path: Path, flag: str) -> None:
    with pytest.raises(EngineRefused, match="never runs code"):
        VLLMServer(tmp_path, tmp_path, tmp_path / "log", flags=VLLMFlags(extra=(flag,)))
    assert "--no-trust-remote-code" in DATA_ONLY
