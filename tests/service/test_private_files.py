"""Files of a home as other users of the machine see them, written by real processes whose umask forbids nothing."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ketools.core.private import make_private
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.compiling import Compiled
from ketools.journal import Journal
from ketools.layers.files import ArtefactFiles

EDIT = """
import os, signal, sys
from pathlib import Path
from ketools.core.principals import OPERATOR
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox
service = open_service(Settings(home=Path(sys.argv[1]), consolidate=False))
box = Toolbox(service, OPERATOR)
box.edit_fact("France", "The capital of France is", "Lyon", "user/a", method=sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""
TOKEN = "import sys; from ketools.cli.main import app; app()"


def python(code: str, *arguments: str) -> int:
    """Run a program with umask 0; its exit status."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, umask=0, env=environment, capture_output=True, timeout=300).returncode


def open_to_others(folder: Path) -> dict[str, str]:
    """Everything in a folder, and itself, that somebody else may read, write or enter, with its mode."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {str(path.relative_to(folder)): oct(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.mark.parametrize("method", ["ice", "rome"])
def test_no_file_of_a_home_is_open_to_others_even_after_a_kill(tmp_path: Path, method: str) -> None:
    home = tmp_path / "made" / "home"
    made = ["--home", str(home), "token", "new", "--name", "alice", "--spaces", "user/alice"]
    assert python(EDIT, str(home), method) == -signal.SIGKILL
    assert python(TOKEN, *made) == 0
    found = {path.name for path in home.rglob("*") if path.is_file()}
    assert {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.secret", "tokens.json"} <= found
    assert any(name.endswith(".safetensors") for name in found)
    derived_from_the_model = home / "cache"
    assert [path for path in open_to_others(home) if not (home / path).is_relative_to(derived_from_the_model)] == []


def test_files_that_an_older_version_left_open_are_closed_at_the_next_start(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.db").close()
    ArtefactFiles(tmp_path / "artefacts")
    (tmp_path / "journal.db").chmod(0o644)
    (tmp_path / "artefacts").chmod(0o755)
    Journal(tmp_path / "journal.db").close()
    ArtefactFiles(tmp_path / "artefacts")
    assert open_to_others(tmp_path) == {}


@pytest.mark.parametrize(("mode", "left"), [(0o666, 0o660), (0o664, 0o660), (0o644, 0o600), (0o640, 0o600)])
def test_a_group_that_may_write_keeps_its_rights(tmp_path: Path, mode: int, left: int) -> None:
    file = tmp_path / "shared.db"
    file.touch()
    file.chmod(mode)
    make_private(file)
    assert stat.S_IMODE(file.stat().st_mode) == left


def test_adapters_can_be_read_by_the_user_of_vllm(tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    compiled = Compiled({"model.layers.0.mlp.down_proj": (torch.ones(1, 4), torch.ones(4, 1))}, residual=0.0)
    store.put(compiled, "base")
    for path in store.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044, path
