"""`ketools mcp install`: writes this server into a client's own settings, shown first, with a copy of the old file."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.errors import Group, fail
from ketools.cli.session import Session, session

NAME = "ketools"
PATHS = ("--home", "--adapters", "--vllm-python")
"""Options whose values are paths: a client starts the server in a folder of its own."""

mcp_app = typer.Typer(cls=Group, help="Set up MCP clients.", no_args_is_help=True)


class Client(StrEnum):
    """The clients that can be set up."""

    CLAUDE_DESKTOP = "claude-desktop"
    CURSOR = "cursor"
    CLAUDE_CODE = "claude-code"
    VSCODE = "vscode"
    CODEX = "codex"


@dataclass(frozen=True)
class Entry:
    """The server as a client starts it."""

    command: str
    args: tuple[str, ...]


def _applications() -> Path:
    """Where desktop programs keep their settings."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")


def settings_of(client: Client) -> Path:
    """The file in which a client reads of its servers."""
    return {
        Client.CLAUDE_DESKTOP: _applications() / "Claude" / "claude_desktop_config.json",
        Client.CURSOR: Path.home() / ".cursor" / "mcp.json",
        Client.CLAUDE_CODE: Path.home() / ".claude.json",
        Client.VSCODE: _applications() / "Code" / "User" / "mcp.json",
        Client.CODEX: Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "config.toml",
    }[client]


def entry_of(options: Session) -> Entry:
    """This very program with the options before the command, everything by absolute path."""
    words = options.arguments()
    for i, word in enumerate(words[1:], start=1):
        is_model = words[i - 1] == "--model" and Path(word).is_dir()
        if words[i - 1] in PATHS or is_model:
            words[i] = str(Path(word).absolute())
    script = Path(sys.executable).parent / NAME
    if script.exists():
        return Entry(str(script), (*words, "serve"))
    return Entry(sys.executable, ("-m", "ketools.cli.main", *words, "serve"))


def with_json(old: str, entry: Entry, key: str, **more: str) -> str:
    """JSON settings with the entry under a key. Raises ValueError when the old ones cannot be read."""
    found = json.loads(old) if old.strip() else {}
    if not isinstance(found, dict) or not isinstance(found.get(key, {}), dict):
        raise ValueError(f"it holds no object {key!r}")
    server = {**more, "command": entry.command, "args": list(entry.args)}
    return json.dumps({**found, key: {**found.get(key, {}), NAME: server}}, indent=2, ensure_ascii=False) + "\n"


def with_toml(old: str, entry: Entry) -> str:
    """TOML settings with the entry's table behind them. Raises ValueError for one that is there, or unreadable ones."""
    if NAME in tomllib.loads(old).get("mcp_servers", {}):
        raise ValueError(f"it has a table [mcp_servers.{NAME}] already; remove that first")
    table = f"[mcp_servers.{NAME}]\ncommand = {json.dumps(entry.command)}\nargs = {json.dumps(list(entry.args))}\n"
    return f"{old.rstrip()}\n\n{table}".lstrip()


Write = Callable[[str, Entry], str]
WRITERS: Mapping[Client, Write] = {
    Client.CLAUDE_DESKTOP: lambda old, entry: with_json(old, entry, "mcpServers"),
    Client.CURSOR: lambda old, entry: with_json(old, entry, "mcpServers"),
    Client.CLAUDE_CODE: lambda old, entry: with_json(old, entry, "mcpServers", type="stdio"),
    Client.VSCODE: lambda old, entry: with_json(old, entry, "servers", type="stdio"),
    Client.CODEX: with_toml,
}


@mcp_app.command("install")
def install(
    context: typer.Context,
    client: Annotated[Client, typer.Argument(help="Which client to set up.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    show_only: Annotated[bool, typer.Option("--print", help="Show what would be written, write nothing.")] = False,
) -> None:
    """Write this server into a client's settings; they are shown first, and a copy of the old ones is kept.

    Options before the command (--model, --home, ...) become those of the server.
    """
    path, write, entry = settings_of(client), WRITERS[client], entry_of(session(context))
    print(f"{client}: {path}\n\n{write('', entry)}")
    if show_only:
        return
    if not yes:
        if not sys.stdin.isatty():
            fail("Nothing was written: add --yes to write it without a question.", 2)
        typer.confirm(f"Write this into {path}?", abort=True, err=True)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        new = write(old, entry)
    except ValueError as error:
        fail(f"{path} was left as it is: {error}. Put the entry above into it by hand.")
    kept = _replace(path, new)
    print(f"Written.{f' The old file is kept as {kept}.' if kept else ''} Restart {client} to use it.")


def _replace(path: Path, text: str) -> Path | None:
    """Write the file as a whole, with the mode of the old one, of which a copy is kept; returns the copy's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # settings may be links into a folder of dotfiles
    kept = None
    if target.exists():
        kept = target.with_name(f"{target.name}.before-ketools-{time.strftime('%Y%m%d-%H%M%S')}")
        shutil.copy2(target, kept)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    if kept is not None:
        shutil.copymode(kept, temporary)
    Path(temporary).replace(target)
    return kept
