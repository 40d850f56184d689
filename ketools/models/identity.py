"""Which model serves: its hash and the sizes of its modules, known without loading it. Imports no torch."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ketools.core.private import private_folder
from ketools.models.directory import CONFIG, directory_hash, existing, tensor_shapes, weight_files

if TYPE_CHECKING:
    from ketools.models.editable import EditableModel


class ModelIdentity:
    """A model that is loaded or lies in a directory. `hashes`: a file that remembers hashes of directories.

    Reading the weights of a large model takes seconds; a directory whose files have the sizes and times that they had
    is not read again.
    """

    def __init__(self, model: EditableModel | Path, hashes: Path | None = None) -> None:
        self.model, self._hashes = model, hashes

    @cached_property
    def hash(self) -> str:
        """Content hash of the model. Raises `ModelError`."""
        if not isinstance(self.model, Path):
            return self.model.model_hash
        return directory_hash(self.model) if self._hashes is None else _remembered_hash(self.model, self._hashes)

    def fits(self, sizes: Mapping[str, tuple[int, int]]) -> bool:
        """Whether the model has linear modules of these names and (in, out) sizes. Raises `ModelError`."""
        return all(self._has(module, size) for module, size in sizes.items())

    def _has(self, module: str, size: tuple[int, int]) -> bool:
        if not isinstance(self.model, Path):
            return self.model.structure.linear_names.get(module) == size
        # A checkpoint may leave out the name of the outermost module, and some families store [in, out].
        wanted = f"{module}.weight"
        found = [shape for name, shape in self._shapes.items() if f".{wanted}".endswith(f".{name}")]
        return any(sorted(shape) == sorted(size) for shape in found)

    @cached_property
    def _shapes(self) -> Mapping[str, list[int]]:
        assert isinstance(self.model, Path)
        return {name: shape for file in weight_files(self.model) for name, shape in tensor_shapes(file).items()}


def _remembered_hash(folder: Path, memory: Path) -> str:
    state = _state(folder)
    known = _read(memory)
    entry = known.get(str(folder.resolve()))
    if isinstance(entry, dict) and entry.get("state") == state and isinstance(entry.get("hash"), str):
        return str(entry["hash"])
    found = directory_hash(folder)
    with suppress(OSError):  # then it is read again next time
        private_folder(memory.parent)
        part = memory.with_suffix(f".{os.getpid()}.tmp")
        part.write_text(json.dumps({**known, str(folder.resolve()): {"state": state, "hash": found}}))
        part.replace(memory)
    return found


def _state(folder: Path) -> list[list[object]]:
    """Name, size and time of change of every file that the hash is of."""
    files = (existing(folder, CONFIG), *weight_files(folder))
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _read(memory: Path) -> dict[str, object]:
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
