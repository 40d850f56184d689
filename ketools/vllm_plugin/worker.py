"""A vLLM worker extension (`--worker-extension-cls`): full-rank changes written into the served weights.

For the one space that everybody shares, when its change is of higher rank than adapters may have. The original
comes from the checkpoint on disk, so taking the change off restores the served weights bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""vLLM keeps these as one matrix each, so they are reloaded together."""


class EditWorker:
    """Mixed into vLLM's worker; `model_runner` and `vllm_config` are the worker's own."""

    model_runner: Any
    vllm_config: Any

    def ketools_in_place(self, file: str) -> dict[str, Any]:
        """Make the weights the checkpoint's plus the changes in a safetensors file of `module -> D [out, in]`.

        An empty path restores the checkpoint. What an earlier file changed is restored first.
        """
        deltas = _read(Path(file)) if file else {}
        before: set[str] = getattr(self, "_ketools_changed", set())
        checkpoint = Path(self.vllm_config.model_config.model)
        self.model_runner.reload_weights(weights_iterator=_weights(checkpoint, deltas, before | set(deltas)))
        self._ketools_changed = set(deltas)
        return {"changed": sorted(deltas)}


def _read(file: Path) -> dict[str, Tensor]:
    with safe_open(file, framework="pt") as stream:
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118


def _weights(checkpoint: Path, deltas: dict[str, Tensor], modules: set[str]) -> Iterator[tuple[str, Tensor]]:
    """The checkpoint's weights of the modules and of what is fused with them, each plus its change."""
    index = _index(checkpoint)
    for module in sorted({sibling for m in modules for sibling in _with_siblings(m, index)}):
        name = f"{module}.weight"
        with safe_open(checkpoint / index[name], framework="pt") as stream:
            weight = stream.get_tensor(name)
        if module in deltas:
            weight = weight.to(torch.float32) + deltas[module]
        yield name, weight


def _with_siblings(module: str, index: dict[str, str]) -> list[str]:
    parent, _, kind = module.rpartition(".")
    family = next((group for group in FUSED if kind in group), (kind,))
    return [f"{parent}.{k}" for k in family if f"{parent}.{k}.weight" in index]


def _index(checkpoint: Path) -> dict[str, str]:
    """The file of each weight."""
    listing = checkpoint / "model.safetensors.index.json"
    if listing.is_file():
        return dict(json.loads(listing.read_text())["weight_map"])
    with safe_open(checkpoint / "model.safetensors", framework="pt") as stream:
        return dict.fromkeys(stream.keys(), "model.safetensors")
