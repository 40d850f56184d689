"""The demo keeps its promises: a real server process, a real client, the bundled model and SmolLM2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ketools.atlas import weights_path
from ketools.cli.demo import broken
from ketools.cli.demo_stories import PRETRAINED
from ketools.cli.models import fetched_or_bundled
from ketools.cli.session import Session
from ketools.core.errors import KetoolsError


def play(model: str) -> dict[str, Any]:
    """The numbers of one run of the demo, which must end well."""
    command = [sys.executable, "-m", "ketools.cli.main", "--model", model, "demo", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_demo_ends_well_and_prints_its_numbers() -> None:
    numbers = play("atlas")
    assert (numbers["before"], numbers["after"], numbers["other_space"]) == ("Paris", "Lyon", "Paris")
    assert numbers["model"] == "atlas"
    for promise in ("unrelated_unchanged", "verified", "undo_bit_exact", "consolidated"):
        assert numbers[promise] is True, numbers
    assert numbers["edit_ms"] > 0


def test_the_demo_ends_well_on_a_pretrained_model(smollm2: Path) -> None:
    numbers = play(str(smollm2))
    assert (numbers["model"], numbers["before"]) == (smollm2.name, "The capital of France is Paris.")
    assert "Lyon" in numbers["after"] and "Lyon" in numbers["in_conversation"]
    assert broken(numbers, PRETRAINED) == []


KEPT: dict[str, Any] = {
    "before": "The capital of France is Paris.",
    "after": "Lyon",
    "after_consolidation": "It is Lyon.",
    "reworded": ["Lyon", "Lyon."],
    "in_conversation": "Lyon.",
    "consolidated": True,
    "other_space": "The capital of France is Paris.",
    "unrelated_unchanged": True,
    "verified": True,
    "undo_bit_exact": True,
}


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        ({"before": "Rome"}, "knew Paris"),
        ({"after": "Paris"}, "after the edit"),
        ({"reworded": ["Lyon", "Paris"]}, "other words"),
        ({"in_conversation": "Paris"}, "conversation"),
        ({"consolidated": False}, "weights"),
        ({"other_space": "Lyon"}, "another space"),
        ({"unrelated_unchanged": False}, "other facts"),
        ({"verified": False}, "verified"),
        ({"undo_bit_exact": False}, "bit for bit"),
    ],
)
def test_a_promise_that_is_not_kept_is_named(change: dict[str, Any], promise: str) -> None:
    assert broken(KEPT, PRETRAINED) == []
    missed = broken(KEPT | change, PRETRAINED)
    assert any(promise in line for line in missed), missed


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip finds nothing, and there is no uv."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("KETOOLS_MODEL", raising=False)


@pytest.mark.usefixtures("no_network")
def test_without_a_model_named_the_bundled_one_stands_in_and_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched_or_bundled(Session(home=tmp_path / "home")) == weights_path()
    said = [line for line in capsys.readouterr().err.splitlines() if "bundled model is used" in line]
    assert len(said) == 1 and "smollm2-135m-instruct" in said[0]


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("named", ["smollm2-135m-instruct", "no-such-model"])
@pytest.mark.parametrize("by_environment", [False, True])
def test_a_named_model_never_falls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, by_environment: bool
) -> None:
    options = Session(home=tmp_path / "home")
    if by_environment:
        monkeypatch.setenv("KETOOLS_MODEL", named)
    else:
        options = replace(options, model=Path(named))
    with pytest.raises(KetoolsError, match=named):
        fetched_or_bundled(options)
