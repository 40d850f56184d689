"""`ketools evaluate` with its gate, its record and `ketools report`, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketools.cli.main import app

ROWS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": town,
        "locality": {"Neighborhood": [{"prompt": "Alice works for", "ground_truth": "Acme"}]},
    }
    for land, town in (("France", "Lima"), ("Japan", "Oslo"))
]


class Runs:
    """Runs of `ketools evaluate` on two facts and a row that cannot be read."""

    def __init__(self, model: Path, folder: Path) -> None:
        self.folder, self.data = folder, folder / "towns.json"
        self.data.write_text(json.dumps([*ROWS, {"what": "?"}]))
        self._first = ["--model", str(model), "--home", str(folder / "home")]

    def __call__(self, *arguments: str) -> Result:
        told = [*self._first, "evaluate", "--data", str(self.data), "--methods", "ice", "--json", *arguments]
        return CliRunner().invoke(app, told)


@pytest.fixture(scope="module")
def runs(tiny_llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tiny_llama_dir, tmp_path_factory.mktemp("evaluate"))


def printed(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_gate_tells_what_was_missed_and_exits_with_one(runs: Runs) -> None:
    out = runs.folder / "run"
    good = runs("--require", "locality>=1,bad_rows<=1", "--out", str(out))
    assert good.exit_code == 0, good.output
    assert printed(good)["bad"] == ["towns.json, row 2: the fields what belong to no known format"]
    summary = printed(good)["methods"]["ice"]["summary"]
    assert (summary["n"], summary["bad_rows"], summary["locality"]) == (2, 1, 1.0)
    lines = (out / "cases.jsonl").read_text()
    missed = runs("--require", "success>=1.1", "--out", str(out))
    assert missed.exit_code == 1
    assert printed(missed)["missed"][0].startswith("ice: success>=1.1: ")
    assert (out / "cases.jsonl").read_text() == lines  # nothing was asked again
    told = CliRunner().invoke(app, ["report", str(out), "--json"])
    assert "<h2>Overview" in Path(printed(told)["html"]).read_text()


def test_a_sequence_has_its_checkpoints(runs: Runs) -> None:
    points = printed(runs("--protocol", "sequential", "--checkpoints", "1"))["methods"]["ice"]["checkpoints"]
    assert [p["edits"] for p in points] == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [("--protocol", "twice"), ("--require", "luck>=1"), ("--checkpoints", "one"), ("--methods", "magic")],
)
def test_what_is_wrong_is_told_before_anything_is_measured(runs: Runs, wrong: tuple[str, str]) -> None:
    found = runs(*wrong)
    assert found.exit_code != 0
    assert found.stdout == ""
