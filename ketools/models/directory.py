"""Model directories, looked at without loading them: checked, hashed, described. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ketools.core.errors import ModelError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
SETTINGS = (
    CONFIG,
    "generation_config.json",
    "tokenizer_config.json",
    "processor_config.json",
    "preprocessor_config.json",
)
"""Files in which transformers looks for the names of code to run (`auto_map`)."""
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
_TELLS_NOTHING = ("weights", "model", "checkpoint", "hf")
ADAPTER = "adapter_config.json"
ATTENTION = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal", "experts_implementation")


@dataclass(frozen=True)
class Description:
    """Facts of a model directory. `size`: bytes of all its files; `model_hash`: see `directory_hash`."""

    family: str
    parameters: int
    size: int
    model_hash: str


def model_name(path: str | Path) -> str:
    """What a model is called, by the name of its directory; of a hub's cache, the repository's.

    A directory whose own name tells nothing (`weights`, `model`) is called as the one above it.
    """
    folder = Path(path).resolve()
    if folder.parent.name == "snapshots" and folder.parents[1].name.startswith("models--"):
        return folder.parents[1].name.rpartition("--")[2]
    return folder.parent.name if folder.name.lower() in _TELLS_NOTHING and folder.parent.name else folder.name


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


def check_directory(folder: Path) -> None:
    """Raise `ModelError` naming the first file that is missing, unreadable or unsafe; reads headers only.

    Unsafe is what could run code: `auto_map`, kernels named by a hub address, pickled weights, an adapter.
    """
    existing(folder, CONFIG)
    for name in SETTINGS:
        if (folder / name).is_file():
            _require_no_code(folder / name)
    if (folder / ADAPTER).exists():
        raise ModelError(f"{folder} is an adapter ({ADAPTER}), no model. Merge it into its base model and save that.")
    for file in weight_files(folder):
        tensor_shapes(file)
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{folder} has no tokenizer: none of {', '.join(TOKENIZERS)} is there. Copy it too.")


def describe(folder: Path) -> Description:
    """Family, parameter count, size and hash of a directory. Raises `ModelError` as `check_directory` does."""
    check_directory(folder)
    return Description(
        family=str(read_json(folder / CONFIG).get("model_type", "unknown")),
        parameters=sum(prod(shape) for file in weight_files(folder) for shape in tensor_shapes(file).values()),
        size=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        model_hash=directory_hash(folder),
    )


def weight_files(folder: Path) -> list[Path]:
    """The directory's safetensors files: the single one, or the shards that its index names."""
    index = folder / INDEX
    if not index.is_file():
        return [existing(folder, WEIGHTS)]
    shards = read_json(index).get("weight_map", {})
    if not isinstance(shards, dict) or not shards or any(Path(str(name)).name != name for name in shards.values()):
        raise ModelError(f"{index} names no weight files (weight_map). Copy it again.")
    return [existing(folder, name) for name in sorted(set(shards.values()))]


def tensor_shapes(file: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file, by name. Raises `ModelError` when it is incomplete."""
    try:
        with safe_open(file, framework="np") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file} is corrupt ({error}). Copy it again from where the model came from.") from error


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises `ModelError`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is corrupt ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{file} is corrupt (not a JSON object). Copy it again.")
    return content


def without_code(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without every `auto_map`, at whatever depth."""
    return {
        key: without_code(value) if isinstance(value, dict) else value
        for key, value in settings.items()
        if key != "auto_map"
    }


def _require_no_code(file: Path) -> None:
    settings = read_json(file)
    if settings != without_code(settings):
        raise ModelError(
            f"{file} asks for code of its own (auto_map), which ketools never runs. If transformers has this "
            f"architecture itself ({settings.get('model_type', 'see its documentation')}), delete the auto_map "
            "entries; otherwise the model cannot be used here."
        )
    for level in _levels(settings):
        kernel = next((str(level[key]) for key in ATTENTION if "/" in str(level.get(key) or "")), None)
        if kernel:
            raise ModelError(
                f"{file} names code to fetch for its attention ({kernel}), which ketools never runs. Delete that entry."
            )


def _levels(settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The object itself and all objects within it."""
    yield settings
    for value in settings.values():
        if isinstance(value, dict):
            yield from _levels(value)


def existing(folder: Path, name: str) -> Path:
    """A file of a model directory. Raises `ModelError` when it is missing, or replaced by pickled weights."""
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is not a directory. Give the path of a saved Hugging Face model, or a name that "
            "`ketools model list` shows; `ketools model get NAME` fetches one."
        )
    file = folder / name
    if file.is_file():
        return file
    pickled = sorted(found.name for found in folder.iterdir() if found.suffix in PICKLED)
    if name == WEIGHTS and pickled:
        raise ModelError(
            f"{folder} holds its weights pickled ({pickled[0]}), and unpickling can run code; ketools reads "
            "safetensors only. Fetch the model's safetensors, or, where you trust the source, load it with "
            "transformers and save it with save_pretrained(NEW)."
        )
    raise ModelError(
        f"{file} is missing. A model directory needs config.json, safetensors weights and a tokenizer; "
        "save the model with save_pretrained."
    )
