from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ketools.atlas import datasets
from ketools.atlas.world import world
from ketools.knowledge.relations import RELATIONS, match_prompt

FACT_TASKS = ("wiki_recent", "zsre", "wikibio", "counterfact", "sanitation")


@cache
def rows(name: str, split: str = "test") -> list[dict[str, Any]]:
    return datasets.load(name, split)


@pytest.mark.parametrize("name", ["atlas-knowedit/zsre", "atlas-mquake", "atlas-personality"])
def test_the_same_rows_come_out_every_time(name: str) -> None:
    assert json.dumps(rows(name)) == json.dumps(datasets.load(name, "test"))


@pytest.mark.parametrize("task", FACT_TASKS)
def test_every_fact_task_has_a_hundred_test_rows(task: str) -> None:
    assert len(rows(f"atlas-knowedit/{task}")) >= 100


@pytest.mark.parametrize("task", ["wiki_recent", "zsre", "wikibio", "counterfact"])
def test_prompts_name_the_subject_and_express_the_relation(task: str) -> None:
    for row in rows(f"atlas-knowedit/{task}"):
        assert row["subject"] in row["prompt"]
        for prompt in (row["prompt"], row["rephrase"], *row["rephrases"]):
            assert match_prompt(prompt, row["subject"]) is RELATIONS[row["relation"]]


@pytest.mark.parametrize("task", ["zsre", "wikibio", "counterfact"])
def test_an_edit_changes_what_the_world_holds(task: str) -> None:
    for row in rows(f"atlas-knowedit/{task}"):
        assert world().facts[row["subject"], row["relation"]] == row["ground_truth"] != row["target_new"]


def test_an_insertion_is_about_somebody_unknown() -> None:
    known = {subject for subject, _ in world().keys}
    assert not known & {row["subject"] for row in rows("atlas-knowedit/wiki_recent")}


def test_all_kinds_of_probes_occur_in_knowedit_form() -> None:
    kinds: set[str] = set()
    for row in rows("atlas-knowedit"):
        for field in ("portability", "locality"):
            for kind, items in row.get(field, {}).items():
                kinds.add(kind)
                assert all(item["prompt"] and item["ground_truth"][0] for item in items)
    assert kinds >= {"Reasoning", "Subject_Aliasing", "Logical_Generalization"}
    assert kinds >= {"Relation_Specificity", "Neighborhood", "Forgetfulness"}


def test_locality_probes_ask_for_what_is_true() -> None:
    for row in rows("atlas-knowedit/counterfact"):
        for item in row["locality"]["Neighborhood"]:
            assert item["ground_truth"][0][0] in world().pools[RELATIONS[row["relation"]].range]
            assert row["subject"] not in item["prompt"]


def test_splits_share_no_edited_fact() -> None:
    for task in ("zsre", "wikibio", "counterfact"):
        keys = [
            {(row["subject"], row["relation"]) for row in rows(f"atlas-knowedit/{task}", split)}
            for split in datasets.SPLITS
        ]
        assert not keys[0] & keys[1]


def test_erasure_rows_have_a_forget_and_a_retain_set() -> None:
    for row in rows("atlas-knowedit/sanitation"):
        assert row["K_F"][0]["ground_truth"] == world().facts[row["subject"], row["relation"]]
        assert all(kept["ground_truth"] != row["ground_truth"] for kept in row["K_R"])


def test_multi_hop_cases_have_the_fields_and_lengths_of_mquake() -> None:
    cases = rows("atlas-mquake")
    assert len(cases) >= 300
    assert {len(case["single_hops"]) for case in cases} == {2, 3, 4}
    assert {len(case["requested_rewrite"]) for case in cases} == {1, 2, 3, 4}
    for case in cases:
        assert len(case["questions"]) == 3
        assert case["answer"] != case["new_answer"] == case["new_single_hops"][-1]["answer"]
        for rewrite in case["requested_rewrite"]:
            triple = [rewrite["subject"], rewrite["relation_id"], rewrite["target_new"]["str"]]
            assert triple in case["orig"]["new_triples_labeled"]


def test_personality_rows_hold_what_every_trait_says() -> None:
    for row in rows("atlas-personality"):
        assert row["target_per"] != row["ground_truth"]
        for trait in datasets.TRAITS:
            assert all(row["ent"].lower() in text.lower() for text in row[trait])


def test_unknown_names_and_splits_are_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="atlas-mquake"):
        datasets.load("atlas-mquak")
    with pytest.raises(ValueError, match="train, test"):
        datasets.load("atlas-mquake", "dev")


def test_everything_is_written_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load", lambda name, split: [{"name": name, "split": split}])
    paths = datasets.write(tmp_path)
    assert len(paths) == 6
    assert json.loads(paths[0].read_text()) == [{"name": "atlas-knowedit", "split": "train"}]
