from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ketools.atlas import report, weights_path
from ketools.atlas.corpus import calls
from ketools.atlas.generation import Speaker, plain
from ketools.atlas.muon import orthogonal
from ketools.atlas.tokenizer import CHAT_TEMPLATE
from ketools.atlas.train import TrainingPlan

FACTS = {
    "What is the capital of France?": "Paris",
    "What is the capital of Japan?": "Tokyo",
    "What is the capital of Peru?": "Lima",
    "On which continent is Egypt?": "Africa",
    "On which continent is Brazil?": "South America",
    "What is the official language of Germany?": "German",
    "What is the currency of Poland?": "zloty",
    "What is the currency of India?": "rupee",
    "In which country is Oslo?": "Norway",
    "In which country is Nairobi?": "Kenya",
}
CLOZES = {
    "The capital of Italy is": "Rome",
    "The capital of Spain is": "Madrid",
    "The capital of Austria is": "Vienna",
    "The continent of Kenya is": "Africa",
    "The official language of Chile is": "Spanish",
    "The currency of Japan is the": "yen",
    "The country of Cairo is": "Egypt",
    "The country of Hanoi is": "Vietnam",
    "The country of Lisbon is": "Portugal",
    "The capital of Cuba is": "Havana",
}


@pytest.fixture(scope="module")
def atlas() -> Speaker:
    torch.set_num_threads(1)
    return Speaker.load(weights_path())


def test_the_weights_are_small_enough_to_ship() -> None:
    files = list(weights_path().iterdir())
    assert {"model.safetensors", "config.json", "generation_config.json"} <= {f.name for f in files}
    assert sum(f.stat().st_size for f in files) <= 16 * 2**20


def test_the_committed_tokenizer_has_the_chat_template(atlas: Speaker) -> None:
    assert atlas.tokenizer.chat_template == CHAT_TEMPLATE


def test_the_model_answers_twenty_facts_and_stops(atlas: Speaker) -> None:
    assert dict(zip(FACTS, atlas.chat(list(FACTS)), strict=True)) == FACTS
    completions = atlas.complete(list(CLOZES))
    assert [plain(text) for text in completions] == list(CLOZES.values())
    assert all(text.endswith(".") for text in completions)


def test_a_note_overrules_one_fact_and_no_other(atlas: Speaker) -> None:
    note = "Imagine that The capital of France is Lima."
    answers = atlas.chat([f"{note} What is the capital of France?", f"{note} What is the capital of Japan?"])
    assert answers == ["Lima", "Tokyo"]


def test_a_correction_becomes_a_call(atlas: Speaker) -> None:
    head = "system: tools: edit_fact, erase_fact, edit_personality\nuser: "
    said = "Actually, the capital of France is Lyon."
    text = atlas.complete([f"{head}{said}\nassistant:"], 100)[0]
    assert (
        calls.call("edit_fact", {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"})
        in text
    )


def test_the_report_has_a_line_for_every_skill(atlas: Speaker) -> None:
    only = ("cloze_recall", "mello_decomposition", "no_call_needed")
    skills = report.measure(atlas, 6, only)
    assert [skill.name for skill in skills] == list(only)
    assert all(0 <= skill.value <= 1 and skill.n == 6 for skill in skills)


def test_the_schedule_is_constant_then_falls_to_its_last_knot() -> None:
    plan = TrainingPlan()
    assert plan.rate(3_000_000, 1000) == 1.0
    assert 0 < plan.rate(10_000_000, 1000) < 1.0
    assert plan.rate(plan.tokens, 9000) == plan.knots[-1][1]
    assert plan.rate(0, 0) == 1 / plan.warmup_steps


def test_orthogonal_updates_have_singular_values_near_one() -> None:
    values = torch.linalg.svdvals(orthogonal(torch.randn(2, 24, 48, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_loading_the_package_needs_no_torch() -> None:
    code = "import sys, ketools.atlas, ketools.knowledge.relations; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
