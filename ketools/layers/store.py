"""The artefact store: one immutable safetensors file per artefact, named by the SHA-256 of its bytes.

A file holds the artefact's tensors and, as the safetensors metadata entry `ketools`, canonical JSON for the
rest, so `sha256sum` checks a store and any safetensors reader opens it. Files are written under a temporary
name, synced, then renamed: a name that exists is whole, also after a crash.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ketools.core.errors import Diverged, InvalidRequest, StorageError
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact, DenseDelta, HookState, LowRankDelta, Note
from ketools.layers.codebook import read_codebooks

FORMAT = 1
KINDS = MappingProxyType({LowRankDelta: "low_rank", DenseDelta: "dense", HookState: "hook"})
_HASH = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"


class _MalformedError(Exception):
    """The bytes are not an artefact of this format."""


class ArtefactStore:
    """Content-addressed artefacts under a directory; safe for many threads and processes.

    `cache_bytes` bounds the encoded size of the decoded artefacts kept in memory. Artefacts that `get`
    returns are shared between callers and must not be written to; one that was is dropped and read again.
    """

    def __init__(self, root: Path, *, cache_bytes: int = 128 << 20) -> None:
        self.root = Path(root)
        self._cache = _Cache(cache_bytes)
        self._writers = ThreadPoolExecutor(4, thread_name_prefix="artefacts")
        with storage_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)

    def put(self, artefact: Artefact) -> str:
        """Store an artefact durably and return its hash; storing it again changes nothing.

        Raises Diverged for NaN or infinity, InvalidRequest for wrong shapes or types, StorageError when the
        disk refuses.
        """
        name, stored = self.put_soon(artefact)
        stored.result()
        return name

    def put_soon(self, artefact: Artefact, then: Callable[[str], object] | None = None) -> tuple[str, Future[None]]:
        """The artefact's hash at once, and a future that is done when it is durable (or raises as `put` does).

        Waiting for the disk overlaps with other work; nothing may be acknowledged before the future is done.
        `then` is called with the hash, in the same thread, once it is durable: what it raises, the future raises.
        """
        data = encode(artefact)
        name = hashlib.sha256(data).hexdigest()
        return name, self._writers.submit(self._store, name, data, then)

    def _store(self, name: str, data: bytes, then: Callable[[str], object] | None) -> None:
        path = self._path(name)
        with storage_errors(path), self._lock(fcntl.LOCK_SH):
            if _holds(path, data):
                os.utime(path)  # so that the next collection sees it as fresh
                _sync_folder(path.parent)
            else:
                _write_durably(path, data)
        if then is not None:
            then(name)

    def get(self, name: str) -> Artefact:
        """The artefact of a hash, checked against it. Raises StorageError when missing or corrupt."""
        path = self._path(name)
        if (cached := self._cache.get(name)) is not None:
            return cached
        with storage_errors(path):
            data = path.read_bytes()
        artefact = _checked(name, path, data)
        self._cache.put(name, artefact, len(data))
        return artefact

    def size(self, name: str) -> int:
        """Bytes on disk. Raises StorageError when the artefact is missing."""
        path = self._path(name)
        with storage_errors(path):
            return path.stat().st_size

    def hashes(self) -> Iterator[str]:
        """Every stored hash, in order."""
        for path in sorted(self.root.glob(f"??/*{_SUFFIX}")):
            if _HASH.fullmatch(path.stem):
                yield path.stem

    def collect(self, live: set[str], grace_s: float = 3600.0) -> set[str]:
        """Delete artefacts that are not in `live` and older than `grace_s` seconds; returns what went.

        The grace protects artefacts that were stored for an edit which the journal does not know yet.
        Left-over temporary files of crashed writers go too.
        """
        before = time.time() - grace_s
        with storage_errors(self.root), self._lock(fcntl.LOCK_EX):
            for leftover in self.root.glob("??/.*.tmp"):
                _remove_if_older(leftover, before)
            dead = (name for name in self.hashes() if name not in live)
            gone = {name for name in dead if _remove_if_older(self._path(name), before)}
        self._cache.drop(gone)
        return gone

    def _path(self, name: str) -> Path:
        if not _HASH.fullmatch(name):
            raise InvalidRequest(f"{name!r} is not an artefact hash; send 64 hexadecimal digits.")
        return self.root / name[:2] / f"{name}{_SUFFIX}"

    @contextmanager
    def _lock(self, mode: int) -> Iterator[None]:
        """Writers share the store; a collection has it alone."""
        with (self.root / ".lock").open("ab") as file:
            fcntl.flock(file, mode)
            yield


class _Cache:
    """Least recently used artefacts, bounded by their encoded bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._lock = limit, 0, Lock()
        self._kept: OrderedDict[str, tuple[Artefact, int]] = OrderedDict()

    def get(self, name: str) -> Artefact | None:
        with self._lock:
            if (found := self._kept.get(name)) is None:
                return None
            if any(tensor._version for tensor in tensors_of(found[0]).values()):
                self._remove(name)  # a caller wrote into it
                return None
            self._kept.move_to_end(name)
            return found[0]

    def put(self, name: str, artefact: Artefact, size: int) -> None:
        with self._lock:
            self._remove(name)
            self._kept[name] = (artefact, size)
            self._used += size
            while self._used > self._limit:
                self._remove(next(iter(self._kept)))

    def drop(self, names: set[str]) -> None:
        with self._lock:
            for name in names:
                self._remove(name)

    def _remove(self, name: str) -> None:
        if (found := self._kept.pop(name, None)) is not None:
            self._used -= found[1]


# --- bytes ---


def encode(artefact: Artefact) -> bytes:
    """The file of an artefact: the same content gives the same bytes.

    Raises Diverged for NaN or infinity, InvalidRequest for wrong shapes or types.
    """
    tensors = tensors_of(artefact)
    _check_tensors(tensors)
    try:
        text = json.dumps(_header(artefact), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"The artefact's metadata is not plain finite JSON ({error}).") from error
    return save(
        {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()},
        metadata={"ketools": text},
    )


def content_hash(artefact: Artefact) -> str:
    """The name that a store gives the artefact, without storing it; raises as `encode` does."""
    return hashlib.sha256(encode(artefact)).hexdigest()


def size_of(artefact: Artefact) -> int:
    """Bytes of an artefact's tensors."""
    return sum(tensor.nbytes for tensor in tensors_of(artefact).values())


def tensors_of(artefact: Artefact) -> dict[str, Tensor]:
    """An artefact's tensors under the names they have in its file: `A:module`, or with B, D, K, R, S or V."""
    if isinstance(artefact, LowRankDelta):
        pairs = artefact.factors.items()
        return {f"A:{module}": a for module, (a, _) in pairs} | {f"B:{module}": b for module, (_, b) in pairs}
    if isinstance(artefact, DenseDelta):
        return {f"D:{module}": delta for module, delta in artefact.deltas.items()}
    if isinstance(artefact, HookState):
        books = artefact.codebooks.items()
        return {f"{part}:{module}": tensor for module, book in books for part, tensor in book.tensors().items()}
    return {}


def _header(artefact: Artefact) -> dict[str, Any]:
    head: dict[str, Any] = {"format": FORMAT, "method": artefact.method}
    if isinstance(artefact, Note):
        return head | {"type": "note", "request": artefact.request.model_dump(mode="json")}
    return head | {"type": KINDS[type(artefact)], "metadata": dict(artefact.metadata)}


def _check_tensors(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.dim() != 2:
            shape = list(tensor.shape)
            raise InvalidRequest(f"{name} must be a float32 matrix, but is {tensor.dtype} {shape}.")
        if name.startswith("A:") and tensor.shape[0] != tensors[f"B:{name[2:]}"].shape[1]:
            raise InvalidRequest(f"The factors of {name[2:]} disagree about the rank; send A [r, in], B [out, r].")
        if name.startswith("K:") and len({len(tensors[f"{part}:{name[2:]}"]) for part in "KVR"}) != 1:
            raise InvalidRequest(f"The codebook of {name[2:]} needs as many values and radii as keys.")
        if name.startswith("S:") and not _are_spans(
            tensor, len(tensors[f"K:{name[2:]}"]), len(tensors[f"A:{name[2:]}"])
        ):
            raise InvalidRequest(
                f"The codebook of {name[2:]} needs a first and a last rank of its blocks for each key."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} holds NaN or infinity; the edit was not stored. Lower the learning rate.")


def _are_spans(spans: Tensor, keys: int, rank: int) -> bool:
    """Whether there is one for each key, of whole numbers, in order and within the rank."""
    if spans.shape != (keys, 2):
        return False
    first, last = spans.T
    return bool(((first >= 0) & (first <= last) & (last <= rank) & (spans.frac() == 0).all(1)).all())


def _checked(name: str, path: Path, data: bytes) -> Artefact:
    """Decode a file's bytes, after checking them against the file's name."""
    try:
        if hashlib.sha256(data).hexdigest() != name:
            raise _MalformedError("its content does not match its name")
        return decode(data)
    except (_MalformedError, Diverged, InvalidRequest) as error:
        raise StorageError(
            f"The artefact file {path} is corrupt: {error}. Restore it from a backup, or undo the edit that names it."
        ) from error


def decode(data: bytes) -> Artefact:
    """The artefact of a file's bytes; the tensors own their memory."""
    try:
        header = json.loads(_metadata(data)["ketools"])
        with torch.inference_mode(False):  # so that an editor may later differentiate through the factors
            tensors = {name: tensor.clone() for name, tensor in load(data).items()}
        _check_tensors(tensors)
        return _assemble(header, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _MalformedError(f"it is not an artefact of format {FORMAT} ({error})") from error


def _metadata(data: bytes) -> Mapping[str, str]:
    """The free entry of a safetensors header: 8 bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    metadata: Mapping[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata


def _assemble(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Artefact:
    if header["format"] != FORMAT:
        raise _MalformedError(f"its format is {header['format']}; install a newer ketools")
    method = header["method"]
    if header["type"] == "note":
        return Note(method, EditRequest.model_validate(header["request"]))
    metadata = MappingProxyType(header["metadata"])
    if header["type"] == "low_rank":
        modules = sorted(name[2:] for name in tensors if name.startswith("A:"))
        factors = {module: (tensors[f"A:{module}"], tensors[f"B:{module}"]) for module in modules}
        return LowRankDelta(method, MappingProxyType(factors), metadata)
    if header["type"] == "hook":
        return HookState(method, MappingProxyType(read_codebooks(tensors)), metadata)
    deltas = {name[2:]: tensors[name] for name in sorted(tensors)}
    return DenseDelta(method, MappingProxyType(deltas), metadata)


# --- files ---


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file is there and whole (a damaged one is written again)."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _write_durably(path: Path, data: bytes) -> None:
    """All or nothing, and on disk when it returns."""
    new_folder = not path.parent.exists()
    path.parent.mkdir(exist_ok=True)
    part = path.parent / f".{path.stem}.{secrets.token_hex(4)}.tmp"
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)
    if new_folder:
        _sync_folder(path.parent.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_if_older(path: Path, before: float) -> bool:
    old = path.stat().st_mtime <= before
    if old:
        path.unlink()
    return old


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"Cannot use {path}: {error.strerror or error}. {_advice(error)}") from error


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free some disk space (`ketools` keeps everything that was stored before) and call again."
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return "Make the directory writable for this user, or choose another data directory."
    if error.errno == errno.ENOENT:
        return "Restore it from a backup, or undo the edit that names it."
    return "Check the data directory's path and its disk, then call again."
