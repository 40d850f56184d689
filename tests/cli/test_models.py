"""`ketools model ...`, and `--model NAME` before and after a command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketools.atlas import weights_path
from ketools.cli.main import app
from ketools.models.catalogue import ModelStore, Record


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home in which a copy of the bundled model is kept under another name, and as the default's."""
    store = ModelStore(tmp_path / "home")
    for name in ("mine/copy", "smollm2-135m-instruct"):
        with store.locked(), store.adding(name, Record("a test", "", "MIT")) as folder:
            shutil.copytree(weights_path(), folder, dirs_exist_ok=True)
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(home), *arguments])


def printed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_models_are_listed_with_the_default_and_what_can_be_fetched(home: Path, tmp_path: Path) -> None:
    lines = run(home, "model", "list").stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "  mine/copy",
        "* smollm2-135m-instruct",
        "  atlas",
        "  gemma-3-270m",
    ]
    assert "llama, 3M parameters, 7 MB, MIT, 7ef1f6dce0ebd84e1074c6b053eaaffe" in lines[0]
    assert "ketools model get gemma-3-270m" in lines[3]
    bare = printed(run(tmp_path / "empty", "model", "list", "--json"))
    assert [(m["name"], m["default"]) for m in bare["models"]] == [("atlas", True)]
    assert {m["name"] for m in bare["fetchable"]} == {"smollm2-135m-instruct", "gemma-3-270m"}


def test_a_model_is_used_by_its_name_until_it_is_removed(home: Path) -> None:
    ask = ("--model", "mine/copy", "ask", "What is the capital of France?")
    assert run(home, *ask).stdout == "Paris\n"
    assert printed(run(home, "model", "remove", "Mine/Copy", "--json")) == {
        "removed": str(home / "models" / "mine" / "copy")
    }
    gone = run(home, *ask)
    assert gone.exit_code == 1 and "ketools model get mine/copy" in gone.stderr and gone.stderr.count("\n") == 1
    assert run(home, "model", "remove", "mine/copy").exit_code == 1


def test_an_unknown_model_in_the_environment_hinders_neither_get_nor_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KETOOLS_MODEL", "not-fetched")
    assert run(tmp_path, "model", "list").exit_code == 0
    assert "not-fetched" not in run(tmp_path, "model", "get", "no-such-model").stderr
    assert "not-fetched" in run(tmp_path, "ask", "Hi").stderr


def test_what_cannot_be_fetched_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path, "model", "get", "smollm3")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert "smollm2-135m-instruct" in result.stderr


@pytest.mark.parametrize("named", [False, True])
def test_serving_says_which_model_unless_it_was_named(home: Path, named: bool) -> None:
    command = [sys.executable, "-m", "ketools.cli.main", "--home", str(home), "serve"]
    done = subprocess.run(
        [*command, *(["--model", "atlas"] if named else [])],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("ketools: serving ")]
    assert len(said) == (0 if named else 1), done.stderr
    if not named:
        assert "smollm2-135m-instruct" in said[0] and "--model NAME" in said[0]
    assert done.stdout == ""
