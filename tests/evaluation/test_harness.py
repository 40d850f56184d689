"""lm-evaluation-harness on the bundled model: tasks from local files, the untouched model against edited spaces."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ketools.cli.main import app
from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.core.requests import build_request
from ketools.service.opening import open_service
from ketools.service.settings import Settings

pytest.importorskip("lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")  # the harness' own

SPACES = {"user/noted": "ice", "user/weights": "ft-m"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """France's capital is Lyon by a note in one space, and in the weights of another."""
    home = tmp_path_factory.mktemp("home")
    with closing(open_service(Settings(home=home))) as service:
        for space, method in SPACES.items():
            request = build_request(subject="France", prompt="The capital of France is", target_new="Lyon")
            assert service.edits.edit(OPERATOR, request, space, method=method).status == "committed"
    return home


@pytest.mark.parametrize("space", SPACES)
def test_the_harness_sees_what_a_space_knows_and_the_untouched_model_does_not(
    home: Path, tasks: Path, space: str
) -> None:
    found = CliRunner().invoke(app, ["--home", str(home), "lm-eval", str(tasks), "-s", space, "--json"])
    assert found.exit_code == 0, found.output
    values = json.loads(found.stdout)
    assert values["base"] == {"answers": {"n": 2, "exact_match": 0.5}, "choices": {"n": 2, "acc": 0.5}}
    assert values[space] == {"answers": {"n": 2, "exact_match": 1.0}, "choices": {"n": 2, "acc": 1.0}}


def test_nothing_but_the_table_is_printed(home: Path, tasks: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ketools.cli.main", "--home", str(home), "lm-eval", str(tasks), "--n", "1"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert found.stderr == ""
    assert found.stdout.startswith("task ")


def test_what_an_engine_cannot_do_is_refused_with_what_to_do() -> None:
    from ketools.evaluation.harness import _way

    with pytest.raises(InvalidRequest, match="do_sample: false"):
        _way({"do_sample": True})
    assert _way({"until": "\n", "max_gen_toks": 9}) == (("\n",), 9)


def test_a_folder_without_tasks_is_told(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), "lm-eval", str(tmp_path)])
    assert found.exit_code == 1
    assert "task" in found.output
