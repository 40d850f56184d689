"""`ketools multihop` on the sample, answered by a reader that knows it."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ketools.cli.main import app

SAMPLE = Path(__file__).parent.parent / "multihop" / "data" / "mquake_sample.json"
ORACLE = ["multihop", "--data", str(SAMPLE), "--reader", "oracle"]


def test_agents_are_measured_at_each_size_of_memory() -> None:
    done = CliRunner().invoke(app, [*ORACLE, "--agents", "auto", "--k", "1,all", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["auto"]) == ["1", "all"]
    alone = found["auto"]["1"]
    assert alone["accuracy"] == alone["hopwise"] == 1.0 and alone["n"] == 3
    assert {"accuracy_per_question", "unedited", "overridden", "accuracy_strict"} <= alone.keys()


def test_people_get_a_table_and_wrong_names_one_clear_line() -> None:
    done = CliRunner().invoke(app, [*ORACLE, "--agents", "auto", "--k", "1", "--n", "1"])
    assert done.exit_code == 0 and "accuracy" in done.stdout and "1.000" in done.stdout
    wrong = CliRunner().invoke(app, [*ORACLE, "--agents", "atuo"])
    assert wrong.exit_code == 1 and "auto" in wrong.stderr
    missing = CliRunner().invoke(app, ["multihop", "--data", "nowhere.json"])
    assert missing.exit_code == 1 and "nowhere.json" in missing.stderr
