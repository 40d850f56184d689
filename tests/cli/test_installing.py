"""`ketools mcp install` writes a client's settings: shown first, asked, the rest untouched, a copy kept."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketools.cli.installing import Client, settings_of
from ketools.cli.main import app

KEYS = {
    Client.CLAUDE_DESKTOP: "mcpServers",
    Client.CURSOR: "mcpServers",
    Client.CLAUDE_CODE: "mcpServers",
    Client.VSCODE: "servers",
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own."""
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def install(client: Client, *more: str, before: tuple[str, ...] = ()) -> Result:
    return CliRunner().invoke(app, [*before, "mcp", "install", client, *more])


def entry(client: Client) -> dict[str, Any]:
    text = settings_of(client).read_text()
    read = tomllib.loads(text)["mcp_servers"] if client is Client.CODEX else json.loads(text)[KEYS[client]]
    found: dict[str, Any] = read["ketools"]
    return found


@pytest.mark.parametrize("client", list(Client))
def test_every_client_gets_an_entry_with_an_absolute_command(client: Client, home: Path) -> None:
    done = install(client, "--yes", before=("--home", "data", "--model", "atlas"))
    assert done.exit_code == 0 and str(settings_of(client)) in done.output
    made = entry(client)
    assert Path(made["command"]).is_file() and Path(made["command"]).is_absolute()
    words = made["args"]
    assert words[-1] == "serve" and words[words.index("--model") + 1] == "atlas"
    assert words[words.index("--home") + 1] == str(Path("data").absolute())


@pytest.mark.parametrize("client", list(KEYS))
def test_what_else_is_in_the_settings_stays_and_a_copy_is_kept(client: Client) -> None:
    path = settings_of(client)
    path.parent.mkdir(parents=True, exist_ok=True)
    old = {"theme": "dark", KEYS[client]: {"other": {"command": "x"}, "ketools": {"command": "old"}}}
    path.write_text(json.dumps(old))
    path.chmod(0o600)
    assert install(client, "--yes").exit_code == 0
    new = json.loads(path.read_text())
    assert new["theme"] == "dark" and new[KEYS[client]]["other"] == {"command": "x"}
    assert entry(client)["command"] != "old" and path.stat().st_mode & 0o777 == 0o600
    (copy,) = path.parent.glob("*.before-ketools-*")
    assert json.loads(copy.read_text()) == old


def test_codexs_own_tables_stay_and_one_of_ours_is_not_doubled() -> None:
    path = settings_of(Client.CODEX)
    path.parent.mkdir(parents=True)
    path.write_text('model = "o9"  # a comment\n\n[mcp_servers.other]\ncommand = "x"\n')
    assert install(Client.CODEX, "--yes").exit_code == 0
    text = path.read_text()
    assert "# a comment" in text and tomllib.loads(text)["mcp_servers"]["other"] == {"command": "x"}
    again = install(Client.CODEX, "--yes")
    assert again.exit_code == 1 and "remove that first" in again.stderr and path.read_text() == text


@pytest.mark.parametrize("old", ["// comments\n{}", "[]", '{"mcpServers": []}'])
def test_settings_that_cannot_be_read_are_left_alone(old: str) -> None:
    path = settings_of(Client.CURSOR)
    path.parent.mkdir(parents=True)
    path.write_text(old)
    refused = install(Client.CURSOR, "--yes")
    assert refused.exit_code == 1 and "by hand" in refused.stderr and '"command"' in refused.stdout
    assert path.read_text() == old and len(list(path.parent.iterdir())) == 1


def test_nothing_is_written_without_a_yes_or_when_it_is_only_to_be_shown() -> None:
    assert install(Client.CURSOR).exit_code == 2
    shown = install(Client.CURSOR, "--print")
    assert shown.exit_code == 0 and '"serve"' in shown.output
    assert not settings_of(Client.CURSOR).exists()


def test_an_unknown_client_lists_the_known_ones() -> None:
    wrong = CliRunner().invoke(app, ["mcp", "install", "emacs"])
    assert wrong.exit_code == 2 and "claude-desktop" in wrong.output
