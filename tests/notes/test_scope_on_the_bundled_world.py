"""How often the scope decision errs, over a memory of edits of the bundled world and wordings that nothing holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketools.bench.phrasings import HALVES
from ketools.bench.scope import bench_scope, of_file
from ketools.core.errors import NotFound
from ketools.knowledge.relations import RELATIONS
from ketools.notes.lexicon import WIDER
from ketools.retrieval import MiniLMEncoder


def test_the_wordings_are_no_templates_and_the_halves_have_nothing_in_common() -> None:
    tuning, held_out = HALVES["tuning"], HALVES["held-out"]
    assert set(tuning.free) == set(held_out.free) == set(RELATIONS)
    for name, relation in RELATIONS.items():
        known = {*relation.cloze, *relation.questions, *WIDER.get(name, ())}
        assert not set(held_out.free[name]) & (set(tuning.free[name]) | known)
        assert not set(tuning.free[name]) & {*relation.cloze, *relation.questions}
    for part in ("indirect", "mentions", "negations"):
        assert not set(getattr(tuning, part)) & set(getattr(held_out, part))


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    result = bench_scope(MiniLMEncoder(), seed=3)
    return {"paraphrases": result["paraphrases"], "others": result["others"]}


def test_at_most_three_percent_of_paraphrases_are_missed(found: dict[str, dict[str, float]]) -> None:
    assert found["paraphrases"]["n"] >= 500
    assert found["paraphrases"]["missed"] <= 0.03


def test_at_most_two_percent_of_other_prompts_get_a_note(found: dict[str, dict[str, float]]) -> None:
    assert found["others"]["n"] >= 500
    assert found["others"]["injected"] <= 0.02


def test_a_data_set_that_is_not_there_is_named() -> None:
    with pytest.raises(NotFound, match=r"nowhere\.json"):
        of_file(str(Path("nowhere.json")))
