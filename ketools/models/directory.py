"""The files of a model directory and their hash. Importing this imports neither torch nor transformers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ketools.core.errors import ModelError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"


def directory_hash(path: str | Path) -> str:
    """Content hash (hex, 32 digits) of the config and of every weight file, read as a stream.

    Raises `ModelError` naming a file that is missing.
    """
    folder = Path(path)
    digest = hashlib.sha256()
    for file in (existing(folder, CONFIG), *weight_files(folder)):
        with file.open("rb") as stream:
            digest.update(f"{file.name}:{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:32]


def weight_files(folder: Path) -> list[Path]:
    """The directory's safetensors files: the single one, or the shards that its index names."""
    index = folder / INDEX
    if not index.is_file():
        return [existing(folder, WEIGHTS)]
    shards = read_json(index).get("weight_map", {})
    if not isinstance(shards, dict) or not shards:
        raise ModelError(f"{index} names no weight files (weight_map). Copy it again.")
    return [existing(folder, name) for name in sorted(set(shards.values()))]


def existing(folder: Path, name: str) -> Path:
    """A file of a model directory. Raises `ModelError` when it is missing."""
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a directory. Give the path of a saved Hugging Face model.")
    file = folder / name
    if not file.is_file():
        raise ModelError(
            f"{file} is missing. A model directory needs config.json, safetensors weights and a tokenizer; "
            "save the model with save_pretrained."
        )
    return file


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `ModelError` when there is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} is corrupt ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} is corrupt (not a JSON object). Copy it again.")
    return content
