"""Codebooks in vLLM: they travel inside adapters and act on the tokens of requests to those adapters alone.

An adapter's directory may hold `codebooks.safetensors` beside PEFT's files. Names, the resolver, eviction and which
token belongs to whom are therefore vLLM's own for adapters; only the change of the output is ours, in a forward
hook. Hooks run in eager mode only, and on modules that one process holds whole.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from ketools.layers.codebook import Codebook, read_codebooks
from ketools.vllm_plugin.cpu_lora import groups
from ketools.vllm_plugin.names import CODEBOOKS

KINDS = ("down_proj", "o_proj")
"""Modules that vLLM does not fuse with others."""


def read(folder: Path) -> dict[str, Codebook]:
    """The codebooks of an adapter by module; none for most adapters. Raises `ValueError` for other modules."""
    file = folder / CODEBOOKS
    tensors = load_file(file) if file.exists() else {}
    books = read_codebooks(tensors)
    for name in books:
        if not name.endswith(KINDS):
            raise ValueError(f"ketools: a codebook on {name} cannot be served; only on {' or '.join(KINDS)}")
    return books


def install() -> None:
    """Have this process's workers read codebooks with the adapters that they load; safe to call again."""
    try:
        from vllm.lora.worker_manager import WorkerLoRAManager
    except ImportError:
        return
    original, begin = WorkerLoRAManager._load_adapter, WorkerLoRAManager.__init__
    if getattr(original, "reads_codebooks", False):
        return

    def init(self: Any, vllm_config: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, vllm_config, *args, **kwargs)
        self.config_for_codebooks = vllm_config

    def load(self: Any, request: Any) -> Any:
        lora = original(self, request)
        lora.codebooks = read(Path(request.lora_path))
        if lora.codebooks:
            _check(self.config_for_codebooks)
            for name in lora.codebooks:
                _watch(self._adapter_manager, name)
        return lora

    load.reads_codebooks = True  # type: ignore[attr-defined]
    WorkerLoRAManager.__init__, WorkerLoRAManager._load_adapter = init, load


def _check(config: Any) -> None:
    if not config.model_config.enforce_eager:
        raise ValueError("ketools: codebooks need vLLM in eager mode; start it with --enforce-eager")
    if config.parallel_config.tensor_parallel_size > 1:
        raise ValueError("ketools: codebooks need modules that are not split; start vLLM without tensor parallelism")


def _watch(manager: Any, name: str) -> None:
    """Hook a module once; the hook asks whose tokens they are, and whether those have a codebook here."""
    module = manager.modules[name]
    if getattr(module, "ketools_watched", False):
        return
    module.ketools_watched = True

    def hook(_: Any, args: Any, output: Any) -> None:
        x, y = args[0], output[0] if isinstance(output, tuple) else output
        loaded = manager.list_adapters()
        for slot, rows in groups(module.punica_wrapper.token_lora_indices[: len(x)]):
            books = getattr(loaded.get(manager.lora_index_to_id[slot]), "codebooks", {})
            if name in books:
                books[name] = books[name].to(x.device)  # moved once
                y[rows] += books[name].output(x[rows])

    module.register_forward_hook(hook)
