"""The report of a real run, and how a browser shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from ketools.core.errors import InvalidRequest, NotFound
from ketools.editing.editor import Editor
from ketools.engines.local import LocalEngine
from ketools.evaluation import Baseline, EditCase, EvaluationSetup, evaluate_sequential
from ketools.evaluation.data import parse
from ketools.evaluation.origins import origins
from ketools.evaluation.report import write_report
from ketools.evaluation.restoration import restoration
from ketools.evaluation.run import CASES, SUMMARY, MethodRun, Run
from ketools.evaluation.runner import asked_of
from ketools.evaluation.weights import changes, hits
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.models.structure import get_module, weight_of
from ketools.notes import NoteInjector

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
ROWS = [
    {
        "subject": land,
        "prompt": f"The capital of {land} is",
        "target_new": town,
        "portability": {"Reasoning": [{"prompt": f"The river of {land} is", "ground_truth": "Seine"}]},
        "locality": {"Neighborhood": [{"prompt": "Alice works for", "ground_truth": "Acme <b>& sons</b>"}]},
    }
    for land, town in (("France", "Lima"), ("Japan", "Oslo"), ("Peru", "Rome"))
]


@pytest.fixture(scope="module")
def folder(tiny_llama_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sequence of three rank-one changes on a tiny model."""
    engine, path = LocalEngine(tiny_llama_dir), tmp_path_factory.mktemp("run")
    em, cases = engine.editable, parse(ROWS, "towns<script>").cases
    name = em.structure.blocks[0].down_proj
    out, inner = weight_of(get_module(em.model, name)).shape

    def edit(chosen: Sequence[EditCase], layer: EditLayer) -> tuple[EditLayer, float]:
        generator = torch.Generator().manual_seed(len(layer.edits))
        factors = (torch.randn(1, inner, generator=generator), torch.randn(out, 1, generator=generator))
        return layer.with_edits(LiveEdit(chosen[0].id, chosen[0].id, LowRankDelta("t", {name: factors}))), 3.0

    bench = EvaluationSetup(
        engine, Baseline(engine), NoteInjector(), path / CASES, ("The river of France is the Seine",)
    )
    points = evaluate_sequential(bench, edit, cases, checkpoints=(1,), label="rank-one")
    layer = edit(cases[:1], BASE)[0]
    method = MethodRun(
        label="rank-one",
        **dict(points[-1].summary),
        checkpoints=tuple(points),
        changes=tuple(changes(em, layer)),
        hits=hits(em, layer, "Lima"),
        restoration=restoration(engine, bench.baseline, layer, cases),
    )
    run = Run(
        data="towns<script>",
        protocol="sequential",
        model_name="tiny",
        model_hash=engine.model_hash,
        engine="local",
        methods={"rank-one": method},
        cases=asked_of(cases, "sequential"),
        origins=origins(Editor(em), cases, 2),
    )
    run.write(path)
    assert Run.read(path) == run
    write_report(path)
    return path


def test_the_page_holds_everything_and_loads_nothing(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert page.count("<svg") >= 7
    tables = ("Overview", "Methods by data set", "After so many edits", "What changes in the weights")
    places = ("Where facts are read", "One subject", "Related facts", "Where one subject is read")
    for title in (*tables, *places, "After undo", "Cases"):
        assert re.search(f'<h2 id="[a-z0-9-]+">{title}', page)
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:image/png)""", page)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert "<script" not in page
    assert "The capital of France is" in page


def test_the_tables_tell_intervals_and_numbers_of_cases(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    assert re.search(r"\| rank-one \| 0\.\d{3} \[0\.\d{3}, \d\.\d{3}; n 3\]", text)
    header, rule = re.findall(r"^\| method.*\n\| ---.*$", text, re.MULTILINE)[0].splitlines()
    assert header.count("|") == rule.count("|")
    assert "| rank-one | 1 |" in text
    assert re.search(r"^\|  \| 3 \|", text, re.MULTILINE)
    related = text[text.index("## Where facts are read") :]
    assert re.search(r"^\| chains \(2 groups, 4 facts\) \| 1 \|", related, re.MULTILINE)
    assert re.search(r"^\|  \| 3 \| 1\.000 \| 1\.000 \| 0\.000 \|", related, re.MULTILINE)
    assert re.search(r"\| goes on from it \| .*The river of France is \|", text)


def test_a_folder_without_a_run_or_with_a_broken_one_says_so(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(NotFound):
        write_report(tmp_path)
    (tmp_path / SUMMARY).write_text("{}")
    with pytest.raises(InvalidRequest, match="evaluate again"):
        write_report(tmp_path)


def test_a_browser_draws_the_page(folder: Path, tmp_path: Path) -> None:
    wanted = os.environ.get("KETOOLS_TEST_BROWSER")  # where one is named, it must be there
    browser = wanted or next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"no browser here: none of {', '.join(BROWSERS)} is installed")
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,4000", f"--screenshot={shot}"]
    subprocess.run([browser, *options, (folder / "report.html").as_uri()], check=True, timeout=120)
    assert shot.stat().st_size > 20_000
