"""The command as a process: quick help, clean streams, current reference."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ketools.cli.main import app
from ketools.cli.reference import spliced

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
COMMANDS = (
    "serve demo chat ask edit erase personality evaluate list show undo restore spaces methods calibrate atlas schemas"
)


def ketools(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ketools` in a process of its own."""
    command = [sys.executable, "-m", "ketools.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_help_names_every_promised_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from ketools.cli.main import app; "
        "print(CliRunner().invoke(app, ['--help']).stdout); "
        "print('HEAVY', [m for m in ('torch', 'transformers', 'pydantic', 'mcp') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert "HEAVY []" in done.stdout
    for name in COMMANDS.split():
        assert f"│ {name} " in done.stdout


def test_a_command_prints_json_alone_on_stdout(tmp_path: Path) -> None:
    done = ketools("--home", str(tmp_path), "ask", "What is the capital of France?", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"] == "Paris"


def test_a_server_tells_where_it_listens_as_json(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "ketools.cli.main",
        "--home",
        str(tmp_path),
        "serve",
        "--http",
        str(port),
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        server.terminate()
    assert told == {"mcp": f"http://127.0.0.1:{port}/mcp", "gateway": None, "tokens": False}
    assert ketools("--home", str(tmp_path), "serve", "--json").returncode == 2


def test_a_shell_completes_commands() -> None:
    script = Path(sys.executable).parent / "ketools"
    asked = {"_KETOOLS_COMPLETE": "complete_bash", "COMP_WORDS": "ketools per", "COMP_CWORD": "1"}
    done = subprocess.run([script], env=os.environ | asked, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["personality"]


def test_the_version_is_told() -> None:
    assert ketools("--version").stdout.startswith("ketools ")


def test_the_reference_page_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert spliced(text) == text, "run: python -m ketools.cli.reference docs/cli.md"


@pytest.mark.parametrize("name", COMMANDS.split())
def test_every_command_has_help_in_the_reference(name: str) -> None:
    assert f"### `ketools {name}" in PAGE.read_text(encoding="utf-8")
    known = [c.name for c in app.registered_commands] + [g.name for g in app.registered_groups]
    assert any(name in (k or "") for k in known)
