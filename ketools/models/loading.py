"""Model directories: checked, hashed and loaded from local files only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ketools.core.errors import ModelError
from ketools.models.editable import EditableModel
from ketools.models.structure import find_structure

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")


def directory_hash(path: str | Path) -> str:
    """Content hash (hex, 32 digits) of the config and of every weight file, read as a stream.

    Raises `ModelError` naming a file that is missing.
    """
    folder = Path(path)
    digest = hashlib.sha256()
    for file in (_existing(folder, CONFIG), *weight_files(folder)):
        with file.open("rb") as stream:
            digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:32]


def load_editable(path: str | Path, device: str | torch.device = "cpu") -> EditableModel:
    """Load a Hugging Face causal LM directory in fp32, in eval mode, frozen.

    Nothing is fetched and no code of the directory is run. Raises `ModelError` naming the missing or
    corrupt file, or saying why the model cannot be edited.
    """
    folder = Path(path)
    check_directory(folder)
    model = _load_model(folder)
    tokenizer = load_tokenizer(folder)
    model.to(device).eval().requires_grad_(False)
    return EditableModel(
        model=model,
        tokenizer=tokenizer,
        structure=find_structure(model),
        model_hash=directory_hash(folder),
        name=folder.resolve().name,
    )


def check_directory(folder: Path) -> None:
    """Raise `ModelError` naming the first file that is missing or unreadable; reads headers only."""
    _json(_existing(folder, CONFIG))
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is corrupt ({error}). Copy it again from where the model came from.") from error
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZERS)} is there. Copy it too.")


def weight_files(folder: Path) -> list[Path]:
    """The directory's safetensors files: the single one, or the shards that its index names."""
    index = folder / INDEX
    if not index.is_file():
        return [_existing(folder, WEIGHTS)]
    shards = _json(index).get("weight_map", {})
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"{index} names no weight files (weight_map). Copy it again.")
    return [_existing(folder, name) for name in sorted(set(shards.values()))]


def _existing(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a directory. Give the path of a saved Hugging Face model.")
    file = folder / name
    if not file.is_file():
        raise ModelError(
            f"{file} is missing. A model directory needs config.json, safetensors weights and a tokenizer; "
            "save the model with save_pretrained."
        )
    return file


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is corrupt ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} is corrupt (not a JSON object). Copy it again.")
    return content


def _load_model(folder: Path) -> Any:
    with _quiet(), as_model_error(folder, "The model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    # transformers would go on with random values for what is missing or has another size.
    unusable = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if unusable:
        raise ModelError(
            f"The weights in {folder} lack or misfit {len(unusable)} tensors, among them {unusable[0]}. "
            "config.json and the safetensors files belong to different models; copy both again."
        )
    return model


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model directory. Raises `ModelError`."""
    with _quiet(), as_model_error(folder, "The tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if not tokenizer.is_fast:
        raise ModelError(f"The tokenizer in {folder} gives no character offsets; convert it to tokenizer.json.")
    # The first call may reset saved padding settings, which must not happen in two threads at once.
    tokenizer("warm up")
    return tokenizer


def read_config(folder: Path) -> Any:
    """The transformers config of a model directory. Raises `ModelError`."""
    with as_model_error(folder, "The config"):
        return AutoConfig.from_pretrained(folder, local_files_only=True)


@contextmanager
def as_model_error(folder: Path, what: str) -> Iterator[None]:
    """transformers raises whatever its parsers raise; to a caller all of it is a broken directory."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{what} in {folder} cannot be loaded ({type(error).__name__}: {error}). "
            "Check that transformers alone can load the directory."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no loading report, which would fill an agent's log."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
