"""Third-party methods: a real package, installed by pip and found by its entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "tests" / "plugin_example"

USE = """
from pathlib import Path
from ketools.core.requests import EditRequest
from ketools.editing.editor import Editor
from ketools.layers.composition import BASE
request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
(note,) = Editor(Path("nowhere")).compute("shout", [request], BASE, {"marks": 2})
print(note.method, note.request.target_new)
"""


def installed(source: Path, into: Path) -> Path:
    """Install a package with pip, without its dependencies and without the network."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--disable-pip-version-check", "--target", str(into), str(source)]
    subprocess.run([*command, *options], check=True, capture_output=True, timeout=500)
    return into


def run(code: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=500, check=False
    )


def copied(tmp_path: Path) -> Path:
    """A copy of the example, since building leaves files behind."""
    source = tmp_path / "source"
    shutil.copytree(EXAMPLE, source)
    return source


def test_an_installed_third_party_method_computes_an_edit(tmp_path: Path) -> None:
    site = installed(copied(tmp_path), tmp_path / "site")
    result = run(USE, site)
    assert result.stdout.strip() == "shout LIMA!!", result.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_at_all", "ModuleNotFoundError"),
        ("METHOD = 3", "is not a ketools Method"),
        ("from ketools.methods.ice import METHOD", "Two methods are named 'ice'"),
    ],
)
def test_a_broken_third_party_method_fails_loudly_by_name(tmp_path: Path, code: str, message: str) -> None:
    site = tmp_path / "site"
    (site / "shout-0.1.dist-info").mkdir(parents=True)
    (site / "shout-0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 0.1\n")
    (site / "shout-0.1.dist-info" / "entry_points.txt").write_text("[ketools.methods]\nloud = broken_shout:METHOD\n")
    (site / "broken_shout.py").write_text(code + "\n")
    result = run("from ketools.methods.registry import methods; methods()", site)
    assert result.returncode == 1
    assert "BrokenPlugin" in result.stderr
    assert message in result.stderr
