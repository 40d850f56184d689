"""The hash of a method's code: what changes it, and what does not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree, ignore_patterns

import pytest

import ketools
from ketools.evaluation import sources
from ketools.evaluation.sources import source_hash
from ketools.methods.registry import get_method, methods

Hash = Callable[[str], str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package's sources, which a test may change."""
    root = tmp_path / "ketools"
    copytree(Path(ketools.__file__).parent, root, ignore=ignore_patterns("__pycache__", "weights", "profiles"))
    monkeypatch.setattr(sources, "_ROOT", root)
    return root


def hash_of(name: str) -> str:
    """Read anew, as a process that starts now would."""
    sources._hash_of.cache_clear()
    return source_hash(get_method(name))


def test_every_method_has_a_hash_of_its_own_that_stays() -> None:
    found = {name: source_hash(get_method(name)) for name in methods()}
    assert len(set(found.values())) == len(found)
    assert found == {name: hash_of(name) for name in methods()}


@pytest.mark.parametrize(
    ("changed", "others"),
    [
        ("methods/rome/compute.py", {"rome", "r-rome", "bird"}),  # these two are made of rome
        ("methods/kn/config.py", {"kn"}),
        ("methods/support.py", {"rome", "r-rome", "bird", "kn", "ice"}),
        ("models/targets.py", {"rome", "r-rome", "bird", "kn", "ice"}),
        ("notes/scope.py", {"ice"}),
        ("evaluation/report.py", set()),
    ],
)
def test_a_change_of_code_changes_the_hash_of_the_methods_that_use_it(
    package: Path, changed: str, others: set[str]
) -> None:
    names = ("rome", "r-rome", "bird", "kn", "ice")
    before = {name: hash_of(name) for name in names}
    with (package / changed).open("a") as file:
        file.write("\n# changed\n")
    assert {name for name in names if hash_of(name) != before[name]} == others


def test_a_new_version_of_the_package_is_other_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = hash_of("kn")
    monkeypatch.setattr(ketools, "__version__", "9999")
    assert hash_of("kn") != before
    sources._hash_of.cache_clear()


@pytest.mark.parametrize("place", ["shouting.py", "shouting/__init__.py"])
def test_a_plug_in_is_known_by_its_own_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    file = tmp_path / place
    file.parent.mkdir(exist_ok=True)
    file.write_text("import ketools.methods.ice\nMETHOD = None\n")
    method = replace(get_method("ice"), name="shout")

    class Point:
        module = "shouting"

        def load(self) -> object:
            __import__("shouting")
            return method

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sources, "entry_points", lambda group: [Point()])
    found = []
    for more in ("", "# changed\n"):
        file.write_text(file.read_text() + more)
        sources._hash_of.cache_clear()
        found.append(source_hash(method))
    sys.modules.pop("shouting")
    assert found[0] != found[1]
