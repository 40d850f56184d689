"""Multi-hop benchmarks in their published formats; the samples were made for these tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ketools.core.errors import InvalidRequest, NotFound
from ketools.evaluation.mquake import load_multihop, parse_multihop, untouched_of

SAMPLES = Path(__file__).parent.parent / "multihop" / "data"


def test_mquake_is_read_with_facts_named_by_identifiers() -> None:
    data = load_multihop(SAMPLES / "mquake_sample.json")
    first = data.cases[0]
    assert len(data.cases) == 3 and not data.bad
    assert first.edits[0].key == ("Q1", "P50") and first.edits[0].target == "Q5"
    assert first.edits[0].request.prompt == "The Glass Ferry was written by"
    assert [hop.key for hop in first.after] == [("Q1", "P50"), ("Q5", "P27")]
    assert first.old_answers == ("Norway", "Kingdom of Norway") and first.new_answers == ("Peru",)
    assert [question.keys for question in untouched_of(first)] == [frozenset({("Q1", "P50"), ("Q2", "P27")})] * 3


def test_mquake_without_triples_is_read_by_names() -> None:
    rows = json.loads((SAMPLES / "mquake_sample.json").read_text())
    del rows[0]["orig"]
    (case,) = parse_multihop(rows[:1], "T").cases
    assert case.edits[0].key == ("the glass ferry", "P50") and case.after == ()


def test_the_bundled_benchmark_comes_with_questions_of_its_other_split() -> None:
    data = load_multihop("atlas-mquake")
    assert len(data.cases) == 360 and len(data.untouched) == 360
    assert {len(case.after) for case in data.cases} == {2, 3, 4}
    assert all(edit.key in {hop.key for hop in case.after} for case in data.cases for edit in case.edits)


def test_ripple_edits_gives_a_case_per_query_of_two_hops() -> None:
    data = load_multihop(SAMPLES / "ripple_sample.json")
    (case,) = data.cases
    request = case.edits[0].request
    assert (request.subject, request.target_new) == ("Mara Winters", "Ivo Brandt")
    assert request.prompt == "The name of the spouse of Mara Winters is"
    assert case.new_answers == ("Kenya", "Republic of Kenya")
    assert data.untouched[0].answers == ("Bergen",)


def test_bad_rows_are_told_apart_and_counted(tmp_path: Path) -> None:
    rows = json.loads((SAMPLES / "mquake_sample.json").read_text())
    rows += [{"questions": []}, "text", {"questions": [], "requested_rewrite": [], "new_answer": "x"}]
    data = parse_multihop(rows, "mixed")
    assert [bad.index for bad in data.bad] == [3, 4, 5] and "no question" in str(data.bad[2])
    with pytest.raises(InvalidRequest, match="no multi-hop case"):
        parse_multihop([{}], "empty")
    with pytest.raises(NotFound, match="atlas-mquake"):
        load_multihop("atlas-mquak")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        load_multihop(broken)
