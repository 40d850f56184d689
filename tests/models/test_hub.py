"""`model get ORG/NAME` against a hub of our own on loopback: data only, and clear errors."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import ModelError
from ketools.models.catalogue import ModelStore
from ketools.models.directory import read_json
from ketools.models.fetching import get_model
from ketools.models.loading import load_editable

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "org/tiny"


@dataclass
class Hub:
    """A hub with one repository. `asked`: the files that were fetched; `refusal`: an error code instead of it."""

    folder: Path
    refusal: str | None = None
    asked: list[str] = field(default_factory=list)

    def listing(self) -> dict[str, Any]:
        files = sorted(p for p in self.folder.rglob("*") if p.is_file())
        return {
            "id": REPOSITORY,
            "modelId": REPOSITORY,
            "sha": COMMIT,
            "cardData": {"license": "apache-2.0"},
            "siblings": [{"rfilename": p.relative_to(self.folder).as_posix(), "size": p.stat().st_size} for p in files],
        }


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing on stderr."""

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if hub.refusal:
                return self.answer(403 if hub.refusal == "GatedRepo" else 404, X_Error_Code=hub.refusal)
            if path.startswith(f"/api/models/{REPOSITORY}"):
                return self.answer(200, json.dumps(hub.listing()).encode(), Content_Type="application/json")
            prefix = f"/{REPOSITORY}/resolve/{COMMIT}/"
            file = hub.folder / path.removeprefix(prefix)
            if not path.startswith(prefix) or not file.is_file():
                return self.answer(404, X_Error_Code="EntryNotFound")
            if self.command == "GET":
                hub.asked.append(path.removeprefix(prefix))
            data = file.read_bytes()
            return self.answer(200, data, ETag=f'"{hashlib.sha256(data).hexdigest()}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET  # noqa: N815

    return Handler


@pytest.fixture
def hub(tiny_llama_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub whose repository holds, besides the tiny Llama, code, pickles and whatever else people upload."""
    found = Hub(Path(shutil.copytree(tiny_llama_dir, tmp_path / "repository")))
    (found.folder / "original").mkdir()
    for name in ("modeling_evil.py", "pytorch_model.bin", "training_args.bin", "original/model.safetensors"):
        (found.folder / name).write_bytes(b"open('ran', 'w')")
    config = read_json(found.folder / "config.json") | {"auto_map": {"AutoConfig": "modeling_evil.X"}}
    (found.folder / "config.json").write_text(json.dumps(config))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(found))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "home")


def silent(line: str) -> None:
    """Tell nobody."""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_data_files_alone_are_fetched_whatever_hf_hub_offline_says(
    hub: Hub, store: ModelStore, tiny_llama_dir: Path, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    told: list[str] = []
    found = get_model(store, REPOSITORY, told.append)
    assert (found.name, found.licence, found.sha256) == (REPOSITORY, "apache-2.0", COMMIT)
    assert sorted(set(hub.asked)) == sorted(p.name for p in tiny_llama_dir.iterdir())
    assert not [p for p in found.directory.rglob("*") if p.suffix in (".py", ".bin")]
    assert "auto_map" not in read_json(found.directory / "config.json")
    assert load_editable(found.directory).context_length == 256
    assert store.names() == [REPOSITORY]


def edit(file: str, change: Callable[[Path], object]) -> Callable[[Hub], object]:
    return lambda hub: change(hub.folder / file)


def refuse(code: str) -> Callable[[Hub], object]:
    return lambda hub: setattr(hub, "refusal", code)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (refuse("RepoNotFound"), "no public model org/tiny"),
        (refuse("GatedRepo"), "Accept its terms"),
        (edit("model.safetensors", Path.unlink), "pickled"),
        (edit("tokenizer.json", Path.unlink), "tokenizer"),
        (edit("config.json", lambda p: p.write_text('{"model_type": "evil"}')), "cannot be loaded"),
        (edit("model.safetensors", lambda p: p.write_bytes(b"broken")), "corrupt"),
    ],
)
def test_what_cannot_be_fetched_or_used_leaves_nothing(
    hub: Hub, store: ModelStore, spoil: Callable[[Hub], object], says: str
) -> None:
    spoil(hub)
    with pytest.raises(ModelError, match=says):
        get_model(store, REPOSITORY, silent)
    assert [p.name for p in store.root.iterdir()] == [".lock"]


def test_a_hub_that_cannot_be_reached_is_named_with_what_to_do(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"cannot be fetched.*--model DIRECTORY"):
        get_model(store, REPOSITORY, silent)
