"""The files of the artefact store: immutable, each named by the SHA-256 of its bytes, so `sha256sum` checks them.

They are written under a temporary name, synced, then renamed: a name that exists is whole, also after a crash.
Importing this imports no torch.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ketools.core.errors import InvalidRequest, StorageError
from ketools.core.private import make_private, private_folder, private_opener

_HASH = re.compile(r"[0-9a-f]{64}")
_SUFFIX = ".safetensors"


MOST_HEADER = 100_000_000
"""Bytes; safetensors' own bound."""


@dataclass(frozen=True)
class Header:
    """What the beginning of an artefact's file tells: its kind, format and method, and its tensors' shapes by name."""

    form: str
    format: int
    method: str
    shapes: Mapping[str, Sequence[int]]


def parse_header(text: bytes) -> Header:
    """A safetensors header, whose entry `ketools` says what the artefact is. Raises KeyError, TypeError, ValueError."""
    entries = json.loads(text)
    told = json.loads(entries.pop("__metadata__")["ketools"])
    shapes = {name: [int(side) for side in entry["shape"]] for name, entry in entries.items()}
    return Header(str(told["type"]), int(told["format"]), str(told["method"]), shapes)


class ArtefactFiles:
    """Content-addressed files under a directory; safe for many threads and processes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._writers = ThreadPoolExecutor(4, thread_name_prefix="artefacts")
        with storage_errors(self.root):
            private_folder(self.root)
            make_private(self.root)

    def write_soon(self, data: bytes, then: Callable[[str], object] | None = None) -> tuple[str, Future[None]]:
        """The bytes' hash at once, and a future that is done when they are durable.

        `then` is called with the hash, in the same thread, once they are: what it raises, the future raises.
        """
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

    def read(self, name: str) -> bytes:
        """The bytes of a hash, checked against it. Raises StorageError when missing or corrupt."""
        path = self._path(name)
        with storage_errors(path):
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != name:
            raise self.corrupt(name, "its content does not match its name")
        return data

    def header(self, name: str) -> Header:
        """The beginning of an artefact's file, not checked against its hash. Raises StorageError."""
        path = self._path(name)
        with storage_errors(path), path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(min(length, MOST_HEADER))
        try:
            return parse_header(text)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise self.corrupt(name, f"its header cannot be read ({error})") from error

    def corrupt(self, name: str, why: str) -> StorageError:
        """The error of a file that cannot be used."""
        return StorageError(
            f"The artefact file {self._path(name)} is corrupt: {why}. "
            "Restore it from a backup, or undo the edit that names it."
        )

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
            return {name for name in dead if _remove_if_older(self._path(name), before)}

    def _path(self, name: str) -> Path:
        if not _HASH.fullmatch(name):
            raise InvalidRequest(f"{name!r} is not an artefact hash; send 64 hexadecimal digits.")
        return self.root / name[:2] / f"{name}{_SUFFIX}"

    @contextmanager
    def _lock(self, mode: int) -> Iterator[None]:
        """Writers share the store; a collection has it alone."""
        with open(self.root / ".lock", "ab", opener=private_opener) as file:
            fcntl.flock(file, mode)
            yield


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file is there and whole (a damaged one is written again)."""
    try:
        return path.stat().st_size == len(data) and path.read_bytes() == data
    except FileNotFoundError:
        return False


def _write_durably(path: Path, data: bytes) -> None:
    """All or nothing, and on disk when it returns."""
    new_folder = not path.parent.exists()
    private_folder(path.parent)
    part = path.parent / f".{path.stem}.{secrets.token_hex(4)}.tmp"
    try:
        with open(part, "xb", opener=private_opener) as file:
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
