"""Adapter names: the hash of an adapter's content, and where a store keeps the directory of that name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

WEIGHTS, CONFIG, CODEBOOKS = "adapter_model.safetensors", "adapter_config.json", "codebooks.safetensors"
_NAME = re.compile(r"ke-[0-9a-f]{64}")


def is_name(name: str) -> bool:
    """Whether this is the name of an adapter that ketools wrote; nothing else is ever looked up."""
    return _NAME.fullmatch(name) is not None


def name_of(files: Mapping[str, bytes]) -> str:
    """The name of an adapter: `ke-` and the SHA-256 over its files; codebooks are there only when it has some."""
    digest = hashlib.sha256()
    for file in (CONFIG, WEIGHTS, CODEBOOKS):
        digest.update(hashlib.sha256(files[file]).digest() if file in files else b"")
    return f"ke-{digest.hexdigest()}"


def folder_of(root: Path, name: str) -> Path:
    """The directory of an adapter. Raises `ValueError` for anything that is no content-hash name."""
    if not is_name(name):
        raise ValueError(f"{name!r} is not the name of a ketools adapter")
    return root / name[3:5] / name


def is_whole(root: Path, name: str) -> bool:
    """Whether its files are there and their content is what the name says."""
    folder = folder_of(root, name)
    try:
        files = {file: (folder / file).read_bytes() for file in (CONFIG, WEIGHTS)}
        if (folder / CODEBOOKS).exists():
            files[CODEBOOKS] = (folder / CODEBOOKS).read_bytes()
    except OSError:
        return False
    return name_of(files) == name


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
