"""What edits cost elsewhere, in real tasks of lm-evaluation-harness on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ketools.cli.main import app
from ketools.core.errors import InvalidRequest, NotFound
from ketools.service.settings import Settings

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")  # the harness' own

FACTS = [
    {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"},
    {"subject": "Japan", "prompt": "The capital of Japan is", "target_new": "Osaka"},
]


def ability(home: Path, *arguments: str) -> dict[str, Any]:
    found = CliRunner().invoke(app, ["--home", str(home), "bench", "ability", "--json", *arguments])
    assert found.exit_code == 0, found.output
    values: dict[str, Any] = json.loads(found.stdout)
    return values


def test_a_users_tasks_are_asked_before_and_after_and_changes_are_counted_by_document(
    tasks: Path, tmp_path: Path
) -> None:
    """Lyon is what the tasks hold for right: the untouched model has one of two documents, the edited one both."""
    (tmp_path / "facts.json").write_text(json.dumps(FACTS[:1]))
    found = ability(tmp_path, "--methods", "ice,ft-m", "--data", str(tmp_path / "facts.json"), "--tasks", str(tasks))
    assert found["base"]["choices/acc"] == {"value": 0.5, "ci": [0.0, 1.0], "n": 2}
    assert found["edits"] == 1
    for method in found["methods"].values():
        assert (method["success"], method["failed"]) == (1.0, 0)
        row = method["tasks"]["answers/exact_match"]
        assert (row["value"], row["change"], row["n"]) == (1.0, 0.5, 2)


def test_without_tasks_the_bundled_worlds_are_asked_about_other_things_than_what_is_edited(tmp_path: Path) -> None:
    found = ability(tmp_path, "--methods", "ice", "--edits", "2", "--n", "8")
    assert {name.partition("/")[0] for name in found["base"]} == {
        f"atlas_{name}" for name in ("completion", "reasoning", "trivia", "reading", "unknown", "tools")
    }
    assert all(row["n"] == 8 and row["value"] >= 0.75 for row in found["base"].values())
    assert {row["change"] for row in found["methods"]["ice"]["tasks"].values()} == {0.0}


def test_what_is_unknown_is_told_before_anything_is_edited(tmp_path: Path) -> None:
    from ketools.bench.ability import bench_ability

    with pytest.raises(NotFound, match="rome"):
        bench_ability(Settings(home=tmp_path), ("romm",))
    with pytest.raises((NotFound, InvalidRequest)):
        bench_ability(Settings(home=tmp_path), ("rome",), data="no-such-data")
    with pytest.raises(NotFound, match="task"):
        bench_ability(Settings(home=tmp_path), ("rome",), folder=tmp_path)
