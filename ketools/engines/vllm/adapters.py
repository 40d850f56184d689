"""The adapter store: composed layers as immutable PEFT directories, named by their content.

It holds derived data: whatever is deleted is compiled again from the journal's artefacts. Several tool servers
and replicas share one store on one file system.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from ketools.core.errors import StorageError
from ketools.engines.vllm.compiling import Compiled
from ketools.layers.files import storage_errors
from ketools.vllm_plugin.names import CODEBOOKS, CONFIG, WEIGHTS, folder_of, is_name, is_whole, lease, name_of


@dataclass(frozen=True, slots=True)
class Adapter:
    """A stored adapter: its name, its largest rank, and what the rank limit cut off (see `Compiled`)."""

    name: str
    rank: int
    residual: float


class AdapterStore:
    """Adapters under a directory; safe for many threads, processes and hosts of one shared file system."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        with storage_errors(self.root):
            (self.root / "index").mkdir(parents=True, exist_ok=True)

    def put(self, compiled: Compiled, base: str) -> Adapter:
        """Store compiled factors for the base model of that hash. Raises `StorageError`.

        Not synced to the disk: what a power cut damages is no longer what its name says, and is compiled again.
        """
        weights = save({name: t.clone() for name, t in peft_tensors(compiled).items()}, metadata={"format": "pt"})
        config = json.dumps(peft_config(compiled, base), sort_keys=True, indent=1).encode()
        files = {CONFIG: config, WEIGHTS: weights}
        if compiled.codebooks:
            files[CODEBOOKS] = save({name: t.clone() for name, t in compiled.codebooks.items()})
        adapter = Adapter(name_of(files), compiled.rank, compiled.residual)
        with storage_errors(self.root):
            if not is_whole(self.root, adapter.name):
                self._write(adapter.name, files)
        return adapter

    def known(self, key: str) -> Adapter | None:
        """The adapter that was compiled for a key, if it still is in the store and whole."""
        try:
            adapter = Adapter(**json.loads((self.root / "index" / f"{key}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return adapter if is_name(adapter.name) and is_whole(self.root, adapter.name) else None

    def remember(self, key: str, adapter: Adapter) -> None:
        """Note what a key was compiled to."""
        path = self.root / "index" / f"{key}.json"
        part = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        with storage_errors(path):
            part.write_text(json.dumps(asdict(adapter)))
            part.replace(path)

    def write_changes(self, key: str, changes: Mapping[str, Tensor]) -> Path:
        """A file of full weight changes per module, for a change in place. Raises `StorageError`."""
        path = self.root / "in_place" / f"{key}.safetensors"
        with storage_errors(path):
            path.parent.mkdir(exist_ok=True)
            part = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
            part.write_bytes(save({name: change.float().contiguous() for name, change in changes.items()}))
            part.replace(path)
        return path

    @contextmanager
    def lease(self, name: str) -> Iterator[Path]:
        """The directory, protected while the block lasts and for a grace period after. Raises `StorageError`
        when it is missing or damaged; call it round every load."""
        with storage_errors(self.root), lease(self.root, name) as folder:
            if not is_whole(self.root, name):
                raise StorageError(f"The adapter {folder} is missing or damaged; it will be compiled again.")
            yield folder

    def names(self) -> set[str]:
        """Every adapter in the store."""
        return {path.name for path in self.root.glob("??/ke-*") if is_name(path.name)}

    def size(self, name: str) -> int:
        """Bytes of an adapter on disk."""
        return sum(file.stat().st_size for file in folder_of(self.root, name).iterdir())

    def collect(self, in_use: Callable[[], set[str]], grace_s: float) -> set[str]:
        """Delete adapters that no replica has registered and nobody leased for `grace_s`; returns what went.

        A registered directory must stay: vLLM reads an evicted adapter again, and dies when it is gone.
        """
        with storage_errors(self.root), (self.root / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = {name for name in self.names() if self._age(name) > grace_s}
            gone = old - in_use() if old else set()
            for name in gone:
                shutil.rmtree(folder_of(self.root, name))
        for note in (self.root / "index").glob("*.json") if gone else ():
            with suppress(OSError, ValueError, KeyError):
                if json.loads(note.read_text())["name"] in gone:
                    note.unlink()
        return gone

    def _age(self, name: str) -> float:
        return time.time() - folder_of(self.root, name).stat().st_mtime

    def _write(self, name: str, files: dict[str, bytes]) -> None:
        """All or nothing: the directory appears whole under its name."""
        folder = folder_of(self.root, name)
        folder.parent.mkdir(exist_ok=True)
        part = folder.parent / f".{secrets.token_hex(8)}.tmp"
        part.mkdir()
        try:
            for file, data in files.items():
                (part / file).write_bytes(data)
            if folder.exists():  # a damaged one
                folder.rename(folder.parent / f".{secrets.token_hex(8)}.tmp")
            with suppress(FileExistsError):  # somebody else stored the same content meanwhile
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def peft_tensors(compiled: Compiled) -> dict[str, Tensor]:
    """The factors under the names that PEFT gives them."""
    names = {}
    for module, (a, b) in sorted(compiled.factors.items()):
        names[f"base_model.model.{module}.lora_A.weight"] = a
        names[f"base_model.model.{module}.lora_B.weight"] = b
    return names


def peft_config(compiled: Compiled, base: str) -> dict[str, object]:
    """PEFT's LoRA configuration; alpha equals the rank everywhere, so that the change is exactly B @ A."""
    ranks = {module: a.shape[0] for module, (a, _) in sorted(compiled.factors.items())}
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": compiled.rank,
        "lora_alpha": compiled.rank,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": sorted({module.rpartition(".")[2] for module in ranks}),
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_dora": False,
        "use_rslora": False,
    }
