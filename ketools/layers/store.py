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
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact, DenseDelta, HookState, LowRankDelta, Note, RoutedDelta, SealedRequest
from ketools.layers.codebook import read_codebooks
from ketools.layers.files import ArtefactFiles

FORMAT = 1
KINDS = MappingProxyType({LowRankDelta: "low_rank", RoutedDelta: "routed", DenseDelta: "dense", HookState: "hook"})


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


def form_of(artefact: Artefact) -> str:
    """The kind of an artefact, as its file names it."""
    return "note" if isinstance(artefact, Note) else KINDS[type(artefact)]


def size_of(artefact: Artefact) -> int:
    """Bytes of an artefact's tensors."""
    return sum(tensor.nbytes for tensor in tensors_of(artefact).values())


def tensors_of(artefact: Artefact) -> dict[str, Tensor]:
    """An artefact's tensors under the names they have in its file: `A:module`, or with B, D, K, R, S or V."""
    if isinstance(artefact, LowRankDelta | RoutedDelta):
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
    head |= {"type": KINDS[type(artefact)], "metadata": dict(artefact.metadata)}
    if isinstance(artefact, RoutedDelta):
        if isinstance(artefact.request, SealedRequest):
            return head | {"sealed": artefact.request.text}
        return head | {"request": artefact.request.model_dump(mode="json")}
    return head


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
    if header["type"] in ("low_rank", "routed"):
        modules = sorted(name[2:] for name in tensors if name.startswith("A:"))
        factors = MappingProxyType({module: (tensors[f"A:{module}"], tensors[f"B:{module}"]) for module in modules})
        if header["type"] == "low_rank":
            return LowRankDelta(method, factors, metadata)
        sealed = header.get("sealed")
        request = SealedRequest(str(sealed)) if sealed else EditRequest.model_validate(header["request"])
        return RoutedDelta(method, request, factors, metadata)
    if header["type"] == "hook":
        return HookState(method, MappingProxyType(read_codebooks(tensors)), metadata)
    deltas = {name[2:]: tensors[name] for name in sorted(tensors)}
    return DenseDelta(method, MappingProxyType(deltas), metadata)
