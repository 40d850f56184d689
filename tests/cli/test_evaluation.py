"""`ketools evaluate` with its gate, its record and `ketools report`, on a tiny random model."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ketools.atlas import weights_path
from ketools.cli.evaluating import ByMethod, ByRoad, EvaluationPlan, _texts, ask_share
from ketools.cli.main import app
from ketools.evaluation import load
from ketools.evaluation.run import Run
from ketools.evaluation.runner import Share
from ketools.knowledge.relations import RELATIONS
from ketools.methods.profile import MethodProfile, Profile, Scores, store_profile
from ketools.models.directory import directory_hash
from ketools.service.opening import open_service
from ketools.service.settings import Settings

ROWS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": town,
        "portability": {"Reasoning": [{"prompt": f"The river of {land} is", "ground_truth": "Seine"}]},
        "locality": {"Neighborhood": [{"prompt": "Alice works for", "ground_truth": "Acme"}]},
    }
    for land, town in (("France", "Lima"), ("Japan", "Oslo"))
]

COSTS = {"ms_per_edit", "peak_mb", "peak_mb_max"}


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
    good = runs("--require", "locality>=1,bad_rows<=1,locality.Neighborhood>=1,towns.n>=2", "--out", str(out))
    assert good.exit_code == 0, good.output
    assert printed(good)["bad"] == ["towns.json, row 2: the fields what belong to no known format"]
    summary = printed(good)["methods"]["ice"]
    assert (summary["n"], summary["bad_rows"], summary["locality"]) == (2, 1, 1.0)
    lines = (out / "cases.jsonl").read_text()
    missed = runs("--require", "success>=1.1", "--out", str(out))
    assert missed.exit_code == 1
    assert printed(missed)["missed"][0].startswith("ice: success>=1.1: ")
    assert (out / "cases.jsonl").read_text() == lines  # nothing was asked again
    drawn = runs.folder / "figures"
    told = CliRunner().invoke(app, ["report", str(out), "--figures", str(drawn), "--json"])
    assert sorted(map(str, drawn.glob("*.svg"))) == sorted(printed(told)["figures"]) != []
    assert ">Overview</h2>" in Path(printed(told)["html"]).read_text()


@pytest.mark.parametrize("protocol", ["single", "batch"])
def test_a_row_that_the_window_cannot_hold_is_a_bad_row_and_the_run_goes_on(
    runs: Runs, tiny_llama_dir: Path, tmp_path: Path, protocol: str
) -> None:
    data, word = tmp_path / "long.jsonl", "far "
    long = [
        ROWS[0] | {"prompt": f"{word * 300}The capital of France is"},
        ROWS[0] | {"rephrase": [f"{word * 300}The capital of France is"]},
        ROWS[0] | {"locality": {"Neighborhood": [{"prompt": f"{word * 300}Alice works for", "ground_truth": "Acme"}]}},
        ROWS[0] | {"target_new": "Lima" * 300},
    ]
    data.write_text("\n".join(map(json.dumps, [*long, *ROWS])))
    found = printed(runs("--data", str(data), "--n", "2", "--protocol", protocol))
    assert (found["methods"]["ice"]["n"], found["methods"]["ice"]["bad_rows"]) == (2, 4)
    assert found["bad"][1].startswith("long.jsonl, row 1: after its rephrase prompt the model's window has room for 0")
    data.write_text(json.dumps(long[0]))
    assert "no row that can be read. The first problem: long.jsonl, row 0" in runs("--data", str(data)).stderr


def test_a_report_tells_of_the_cases_of_its_run_alone_whatever_else_the_folder_holds(runs: Runs) -> None:
    out = runs.folder / "several"
    for n in ("2", "1"):
        assert runs("--n", n, "--out", str(out)).exit_code == 0
    assert len((out / "cases.jsonl").read_text().splitlines()) == 2
    assert [result.id for result in Run.read(out).results(out, "ice")] == ["towns.json#0"]


def calibrated(runs: Runs, model: Path, lr: float) -> None:
    """As if calibration had found this step size for the model."""
    scores = Scores(success=1, rephrase=1, locality=1, ms=1, n=1)
    chosen = MethodProfile(config={"lr": lr, "steps": 2, "prefixes": 0}, scores=scores)
    profile = Profile(model_hash=directory_hash(model), model_name="tiny", methods={"ft-m": chosen})
    store_profile(profile, runs.folder / "home" / "profiles")


def test_a_method_that_was_calibrated_anew_is_not_answered_by_its_old_record(runs: Runs, tiny_llama_dir: Path) -> None:
    out = runs.folder / "calibrated"
    arguments = ("--methods", "ft-m", "--n", "1", "--out", str(out))
    asked, labels = [], []
    for lr in (1e-4, 1e-4, 2e-4, 1e-4):
        calibrated(runs, tiny_llama_dir, lr)
        found = printed(runs(*arguments))["methods"]["ft-m"]
        labels.append(found["label"])
        asked.append(len((out / "cases.jsonl").read_text().splitlines()))
    assert asked == [1, 1, 2, 2]
    assert labels[0] == labels[1] == labels[3] != labels[2]
    assert len(Run.read(out).results(out, "ft-m")) == 1


def test_auto_is_another_method_when_its_settings_or_its_parametric_method_are_others(
    tiny_llama_dir: Path, tmp_path: Path
) -> None:
    def label(**changed: Any) -> str:
        settings = Settings(model=tiny_llama_dir, home=tmp_path, **changed)
        with closing(open_service(settings)) as service:
            return ByRoad(service).label

    assert label() == label(threads=1)
    assert len({label(), label(min_success=0.5), label(parametric="rome")}) == 3


@pytest.mark.parametrize("protocol", ["single", "sequential"])
def test_several_processes_find_what_one_finds_and_nothing_is_asked_twice(runs: Runs, protocol: str) -> None:
    out = runs.folder / f"shared-{protocol}"
    arguments = ("--protocol", protocol, "--checkpoints", "1")
    shared = printed(runs(*arguments, "--workers", "2", "--out", str(out)))["methods"]["ice"]
    asked = [json.loads(line)["result"]["id"] for line in (out / "cases.jsonl").read_text().splitlines()]
    assert len(asked) == {"single": 2, "sequential": 3}[protocol]
    alone = printed(runs(*arguments))["methods"]["ice"]
    kept = [name for name, value in alone.items() if isinstance(value, float) and name not in COSTS]
    found, wanted = ({name: one[name] for name in kept} for one in (shared, alone))
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_a_share_is_asked_and_nothing_else(runs: Runs, tiny_llama_dir: Path, tmp_path: Path) -> None:
    plan = EvaluationPlan(data=str(runs.data), methods=("ice",), out=tmp_path)
    settings = Settings(model=tiny_llama_dir, home=runs.folder / "home")
    asked = []
    for part in (1, 0):
        ask_share(settings, plan, Share(part, 2))
        asked.append([json.loads(line)["result"]["id"] for line in (tmp_path / "cases.jsonl").read_text().splitlines()])
    assert [len(ids) for ids in asked] == [1, 2]
    assert asked[1][0] == asked[0][0] != asked[1][1]


def test_a_run_that_is_resumed_keeps_the_analyses_of_its_cases(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    out = runs.folder / "analysed"
    arguments = ("--methods", "ft-m", "--out", str(out))
    first = printed(runs(*arguments))["methods"]["ft-m"]
    assert first["changes"] and first["hits"]["n"] == 2
    made: list[str] = []
    monkeypatch.setattr(ByMethod, "__call__", lambda self, cases, layer: made.append(self.method))
    assert printed(runs(*arguments))["methods"]["ft-m"] == first
    assert made == []


def test_perplexity_is_not_over_facts_that_are_edited(tmp_path: Path) -> None:
    cases = load("atlas-knowedit").first(None)
    texts = _texts(EvaluationPlan(), directory_hash(weights_path()), cases)
    stated = {RELATIONS[c.request.relation].cloze[0].format(s=c.request.subject) for c in cases if c.request.relation}
    assert len(texts) == 60 and not any(text.startswith(tuple(stated)) for text in texts)


def test_a_run_traces_as_many_facts_as_are_asked_for(runs: Runs) -> None:
    assert printed(runs("--n", "1"))["origins"] is None
    found = printed(runs("--n", "1", "--locate", "2"))["origins"]
    assert (found["chains"]["groups"], found["chains"]["facts"], found["phrasings"]) == (2, 4, None)
    assert "The river of France is" in found["example"]["goes on from it"]["prompt"]


def test_a_sequence_has_its_checkpoints(runs: Runs) -> None:
    points = printed(runs("--protocol", "sequential", "--checkpoints", "1"))["methods"]["ice"]["checkpoints"]
    assert [p["edits"] for p in points] == [1, 2]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--protocol", "twice"),
        ("--require", "luck>=1"),
        ("--require", "locality.Forgetfulness>=1"),
        ("--checkpoints", "one"),
        ("--methods", "magic"),
        ("--methods", ""),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_measured(runs: Runs, wrong: tuple[str, str]) -> None:
    found = runs(*wrong)
    assert found.exit_code != 0
    assert found.stdout == ""
