"""Files of tensors that can be computed again: whole or not there, and a damaged one counts as none."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ketools.core.errors import StorageError
from ketools.core.private import private_folder


def read_tensors(path: Path) -> dict[str, Tensor] | None:
    """The stored tensors; None when there are none or the file is damaged."""
    if not path.exists():
        return None
    with suppress(SafetensorError, OSError):
        return dict(load_file(path))
    return None


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write next to the final place, then rename: a reader never sees half a file. Raises `StorageError`."""
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        private_folder(path.parent)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(f"Cannot store {path}: {error}. Free space or move the cache.") from error
