"""A vLLM plug-in: any replica loads an adapter by its content-hash name from the shared store, by itself.

`KETOOLS_ADAPTERS` names the store's directory; without it nothing is registered. A name that is no content
hash, and a directory whose content is not what its name says, are refused (vLLM then answers 404).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ketools.vllm_plugin.names import is_name, is_whole, lease


def find(root: Path, name: str) -> Path | None:
    """The checked directory of an adapter, marked as in use; None for anything else."""
    if not is_name(name):
        return None
    with lease(root, name) as folder:
        return folder if is_whole(root, name) else None


def register() -> None:
    """Called by vLLM at start (entry point `vllm.general_plugins`); safe to call again."""
    if not (where := os.environ.get("KETOOLS_ADAPTERS")):
        return
    root = Path(where)
    from vllm.lora.request import LoRARequest
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

    class AdapterResolver(LoRAResolver):  # type: ignore[misc]  # vLLM is not installed where types are checked
        async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
            folder = find(root, lora_name)
            if folder is None:
                return None
            # vLLM replaces the id by one of its own.
            return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    if "ketools" not in LoRAResolverRegistry.get_supported_resolvers():
        LoRAResolverRegistry.register_resolver("ketools", AdapterResolver())
