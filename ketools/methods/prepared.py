"""What methods train ahead of all edits, found again under the hash of what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ketools.core.progress import Progress
from ketools.layers.composition import BASE
from ketools.methods.base import Method, MethodConfig, State
from ketools.models.background import Background
from ketools.models.editable import EditableModel
from ketools.models.tensor_files import read_tensors, write_tensors


def state_name(method: Method, model_hash: str, config: MethodConfig, data: Background) -> str | None:
    """The hash (hex, 64 digits) of all that a method's state depends on; None for a method that prepares nothing."""
    if method.prepare is None:
        return None
    parts = {
        "method": method.name,
        "model": model_hash,
        "config": config.model_dump(mode="json"),
        "data": data.source,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class States:
    """Prepared states, in memory and in files of a directory (None: memory only). One computation at a time."""

    def __init__(self, data: Background, directory: Path | None = None) -> None:
        self._data, self._directory = data, directory
        self._known: dict[str, Mapping[str, Tensor]] = {}

    def get(self, method: Method, em: EditableModel, config: MethodConfig, progress: Progress) -> State | None:
        """The state of a method, prepared when it is not known yet; None for a method that prepares nothing.

        Raises what `progress` and the preparation raise.
        """
        name = state_name(method, em.model_hash, config, self._data)
        if name is None or method.prepare is None:
            return None
        path = self._directory / f"{name}.safetensors" if self._directory else None
        if name not in self._known:
            stored = read_tensors(path) if path else None
            if stored is None:
                with em.switch.use(BASE):
                    stored = dict(method.prepare(em, self._data, config, progress))
                if path:
                    write_tensors(path, stored)
            self._known[name] = stored
        return State(name, self._known[name])
