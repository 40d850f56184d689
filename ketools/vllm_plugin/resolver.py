"""A vLLM plug-in: any replica loads an adapter by its content-hash name from the shared store, by itself.

`KETOOLS_ADAPTERS` names the store's directory; without it nothing is registered. Refused (vLLM then answers 404)
are a name that is no content hash, a directory whose content is not what its name says, and an adapter that was
compiled for other weights than those that are served now.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ketools.vllm_plugin import codebooks, cpu_lora
from ketools.vllm_plugin.names import held_by, is_name, is_whole, lease

held = ""
"""What is held in the served weights in place (see `ketools.vllm_plugin.endpoint`): the hash of its changes."""


def find(root: Path, name: str, held: str = "") -> Path | None:
    """The checked directory of an adapter for weights that hold `held`, marked as in use; None for anything else."""
    if not is_name(name):
        return None
    with lease(root, name) as folder:
        return folder if is_whole(root, name) and held_by(folder) == held else None


def register() -> None:
    """Called by vLLM in each of its processes (entry point `vllm.general_plugins`); safe to call again."""
    cpu_lora.install()
    codebooks.install()
    if not (where := os.environ.get("KETOOLS_ADAPTERS")):
        return
    root = Path(where)
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    class AdapterResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not installed where types are checked
        async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
            folder = find(root, lora_name, held)
            if folder is None:
                return None
            # vLLM replaces the id by one of its own.
            return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    if "ketools" not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver("ketools", AdapterResolver())
