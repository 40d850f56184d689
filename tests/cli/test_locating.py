"""`ketools locate` and `ketools locate-similarity` on the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from ketools.cli.main import app


def test_a_fact_is_located_for_people_and_for_programs() -> None:
    told = CliRunner().invoke(app, ["locate", "The capital of France is", "--subject", "France", "--samples", "1"])
    assert told.exit_code == 0 and "FFN matters most" in told.stdout and "block 0: says" in told.stdout
    wrong = CliRunner().invoke(app, ["locate", "The capital of France is", "--subject", "Peru"])
    assert wrong.exit_code == 1 and "does not contain the subject" in wrong.stderr


def test_a_fact_is_located_by_its_name_and_drawn(tmp_path: Path) -> None:
    map_file = tmp_path / "map.png"
    arguments = ["locate", "--subject", "France", "--fact", "capital", "--samples", "1", "--png", str(map_file)]
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0 and "FFN matters most" in told.stdout
    assert map_file.read_bytes().startswith(b"\x89PNG")
    for more, complaint in (
        (["--fact", "capitol"], "capital"),
        ([], "either a prompt or --fact"),
        (["The capital of France is", "--fact", "capital"], "either a prompt or --fact"),
    ):
        refused = CliRunner().invoke(app, ["locate", "--subject", "France", *more])
        assert refused.exit_code == 1 and complaint in refused.stderr


def test_related_facts_are_compared_block_by_block() -> None:
    done = CliRunner().invoke(app, ["locate-similarity", "--related", "chains", "--n", "2", "--samples", "1", "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["facts"] == 4 and len(found["relative"]) == len(found["overall"]) == 6
    assert all(0 <= value <= 1 for value in found["relative"])
