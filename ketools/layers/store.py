"""The artefact store: artefacts as safetensors files, encoded and decoded.

A file holds the artefact's tensors and, as the safetensors metadata entry `ketools`, canonical JSON for the
rest, so any safetensors reader opens it. `ketools.layers.files` writes and names them.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Lock

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ketools.core.errors import Diverged, InvalidRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.files import ArtefactFiles
from ketools.layers.registry import kind

FORMAT = 1


class _MalformedError(Exception):
    """The bytes are not an artefact of this format."""


class ArtefactStore(ArtefactFiles):
    """Content-addressed artefacts under a directory; safe for many threads and processes.

    `cache_bytes` bounds the encoded size of the decoded artefacts kept in memory. Artefacts that `get`
    returns are shared between callers and must not be written to; one that was is dropped and read again.
    """

    def __init__(self, root: Path, *, cache_bytes: int = 128 << 20) -> None:
        super().__init__(root)
        self._cache = _Cache(cache_bytes)

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
        return self.write_soon(encode(artefact), then)

    def get(self, name: str) -> Artefact:
        """The artefact of a hash, checked against it. Raises StorageError when missing or corrupt."""
        if (cached := self._cache.get(name)) is not None:
            return cached
        data = self.read(name)
        artefact = self._decoded(name, data)
        self._cache.put(name, artefact, len(data))
        return artefact

    def collect(self, live: set[str], grace_s: float = 3600.0) -> set[str]:
        """See `ArtefactFiles.collect`; what went is no longer in memory either."""
        gone = super().collect(live, grace_s)
        self._cache.drop(gone)
        return gone

    def _decoded(self, name: str, data: bytes) -> Artefact:
        try:
            return decode(data)
        except (_MalformedError, Diverged, InvalidRequest) as error:
            raise self.corrupt(name, str(error)) from error


class _Cache:
    """Least recently used artefacts, bounded by their encoded bytes."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._lock = limit, 0, Lock()
        self._kept: OrderedDict[str, tuple[Artefact, int]] = OrderedDict()

    def get(self, name: str) -> Artefact | None:
        with self._lock:
            if (found := self._kept.get(name)) is None:
                return None
            if any(tensor._version for tensor in found[0].tensors().values()):
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
    tensors = artefact.tensors()
    _check(type(artefact), tensors)
    head = {"format": FORMAT, "type": artefact.form, "method": artefact.method, **artefact.header()}
    try:
        text = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False)
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
    return sum(tensor.nbytes for tensor in artefact.tensors().values())


def _check(kind: type[Artefact], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or tensor.dim() != 2:
            shape = list(tensor.shape)
            raise InvalidRequest(f"{name} must be a float32 matrix, but is {tensor.dtype} {shape}.")
        if not bool(torch.isfinite(tensor).all()):
            raise Diverged(f"{name} holds NaN or infinity; the edit was not stored. Lower the learning rate.")
    kind.check(tensors)


def decode(data: bytes) -> Artefact:
    """The artefact of a file's bytes; the tensors own their memory."""
    try:
        header = json.loads(_metadata(data)["ketools"])
        with torch.inference_mode(False):  # so that an editor may later differentiate through the factors
            tensors = {name: tensor.clone() for name, tensor in load(data).items()}
        if header["format"] != FORMAT:
            raise _MalformedError(f"its format is {header['format']}; install a newer ketools")
        read = kind(header["type"])
        _check(read, tensors)
        return read.read(header["method"], header, tensors)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _MalformedError(f"it is not an artefact of format {FORMAT} ({error})") from error


def _metadata(data: bytes) -> Mapping[str, str]:
    """The free entry of a safetensors header: 8 bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    metadata: Mapping[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return metadata
