"""Adapter names: the hash of an adapter's content, and where a store keeps the directory of that name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_NAME = re.compile(r"ke-[0-9a-f]{64}")


def is_name(name: str) -> bool:
    """Whether this is the name of an adapter that ketools wrote; nothing else is ever looked up."""
    return _NAME.fullmatch(name) is not None


def name_of(config: bytes, weights: bytes) -> str:
    """The name of an adapter: `ke-` and the SHA-256 of its two files."""
    digest = hashlib.sha256(hashlib.sha256(config).digest() + hashlib.sha256(weights).digest())
    return f"ke-{digest.hexdigest()}"


def folder_of(root: Path, name: str) -> Path:
    """The directory of an adapter. Raises `ValueError` for anything that is no content-hash name."""
    if not is_name(name):
        raise ValueError(f"{name!r} is not the name of a ketools adapter")
    return root / name[3:5] / name


def is_whole(root: Path, name: str) -> bool:
    """Whether both files are there and their content is what the name says."""
    folder = folder_of(root, name)
    try:
        return name_of((folder / CONFIG).read_bytes(), (folder / WEIGHTS).read_bytes()) == name
    except OSError:
        return False


def base_of(model_hash: str, held: str = "") -> str:
    """What an adapter is compiled for: a model, and what is held in its weights in place."""
    return f"{model_hash}+{held}" if held else model_hash


def held_by(folder: Path) -> str:
    """What the weights must hold for the adapter in this directory to be right; see `base_of`."""
    base = json.loads((folder / CONFIG).read_bytes()).get("base_model_name_or_path", "")
    return str(base).partition("+")[2]


@contextmanager
def lease(root: Path, name: str) -> Iterator[Path]:
    """Hold off collectors and mark the adapter as used now; it stays whole for the store's grace period.

    On a store that this process may only read, neither is possible and neither is done.
    """
    folder = folder_of(root, name)
    try:
        lock = (root / ".lock").open("ab")
    except OSError:
        yield folder
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        if folder.is_dir():
            os.utime(folder)
        yield folder
