"""Every published row format is read, and what cannot be read is reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import Kind, Trait
from ketools.evaluation.cases import EditCase
from ketools.evaluation.data import answers_of, data_names, load, parse

KNOWEDIT = {
    "subject": "Leo Arons",
    "prompt": "The place of death of Leo Arons is",
    "target_new": "Berlin",
    "ground_truth": ["Paris"],
    "portability": {
        "Logical_Generalization": [{"prompt": "Is Leo Arons still alive?", "ground_truth": [["no"], ["dead"]]}],
        "Reasoning": [{"prompt": "The river of his place of death is", "ground_truth": []}],
    },
    "locality": {"Relation_Specificity": [{"prompt": "Leo Arons was a", "ground_truth": [["physicist"]]}]},
}
WIKIBIO = {
    "concept": "Bill Quinn",
    "text": "This is a biography of Bill Quinn. Bill Quinn was born",
    "labels": "in 1912.",
    "locality": {"Relation_Specificity": [{"prompt": "Bill Quinn is a", "ground_truth": "human"}]},
}
CONVSENT = {"ent": "bananas", "pos": ["I love bananas!", "Great."], "neg": ["I hate bananas."]}
PERSONALITY = {
    "ent": "opera",
    "target_per": "neuroticism",
    "extraversion": ["So exciting!"],
    "agreeableness": ["Kind."],
    "neuroticism": ["Opera makes me anxious."],
}
SANITATION = {
    "K_F": [
        {
            "question": "What is Ann's address?",
            "subject": "Ann",
            "target_new": "I don't know.",
            "ground_truth": "12 Oak Street",
        }
    ],
    "K_R": [
        {"question": "What is Bo's address?", "subject": "Bo", "target_new": "3 Elm", "ground_truth": "3 Elm"},
        {"question": "What is Ann's job?", "subject": "Ann", "target_new": "baker", "ground_truth": "baker"},
    ],
}
ZSRE = {
    "subject": "Shamkir",
    "src": "Which country does Shamkir lie in?",
    "alt": "Norway",
    "answers": ["Azerbaijan"],
    "rephrase": "Of which country is Shamkir a part?",
    "loc": "nq question: where do the cells live",
    "loc_ans": "in water",
}
COUNTERFACT = {
    "case_id": 3,
    "requested_rewrite": {
        "prompt": "{} is a citizen of",
        "subject": "Ellie",
        "relation_id": "P27",
        "target_new": {"str": "Croatia"},
        "target_true": {"str": "Peru"},
    },
    "paraphrase_prompts": ["By passport, Ellie is from", "Ellie votes in"],
    "neighborhood_prompts": ["Bo is a citizen of"],
}
FLAT = {
    "case_id": 0,
    "prompt": "The mother tongue of Ellie is",
    "target_new": "English",
    "subject": "Ellie",
    "ground_truth": "French",
    "rephrase_prompt": "At home Ellie speaks",
    "locality_prompt": "Bo is a native speaker of",
    "locality_ground_truth": "French",
}


def one(row: dict[str, Any]) -> EditCase:
    dataset = parse([row], "rows")
    assert not dataset.bad
    return dataset.cases[0]


def test_a_knowedit_row_keeps_its_probes_by_kind_and_their_aliases() -> None:
    case = one(KNOWEDIT)
    assert (case.request.kind, case.request.target_old) == (Kind.MODIFY, "Paris")
    assert case.direct.prompt == KNOWEDIT["prompt"]
    assert not case.direct.chat
    (probe,) = case.portability["Logical_Generalization"]
    assert probe.answers == ("no", "dead")
    assert probe.chat
    assert "Reasoning" not in case.portability  # nothing to compare an answer with
    assert case.locality["Relation_Specificity"][0].answers == ("physicist",)


def test_a_row_without_an_old_answer_is_an_insertion() -> None:
    assert one({**KNOWEDIT, "ground_truth": ""}).request.kind is Kind.INSERT


def test_a_biography_is_continued_after_its_passage() -> None:
    case = one(WIKIBIO)
    assert case.request.prompt == WIKIBIO["text"]
    assert case.request.target_new == "in 1912."


@pytest.mark.parametrize(("wanted", "target"), [("positive", "I love bananas!"), ("negative", "I hate bananas.")])
def test_a_sentiment_row_becomes_a_manner_of_speaking(wanted: str, target: str) -> None:
    request = one({**CONVSENT, "target_new": wanted}).request
    assert (request.kind, request.trait, request.target_new) == (Kind.PERSONALITY, Trait(wanted), target)
    assert request.prompt == "What do you think of bananas?"


def test_a_personality_row_takes_an_utterance_of_its_trait() -> None:
    request = one(PERSONALITY).request
    assert (request.trait, request.target_new) == (Trait.NEUROTICISM, "Opera makes me anxious.")


def test_a_sanitation_row_forgets_one_fact_and_retains_the_others() -> None:
    case = one(SANITATION)
    assert case.request.kind is Kind.ERASE
    assert case.request.target_old == "12 Oak Street"
    assert [p.answer for p in case.locality["Relation_Specificity"]] == ["baker"]
    assert [p.answer for p in case.locality["Neighborhood"]] == ["3 Elm"]


def test_an_older_zsre_row_is_read_with_its_unrelated_question() -> None:
    case = one(ZSRE)
    assert (case.request.target_new, case.request.target_old) == ("Norway", "Azerbaijan")
    assert case.locality["Out_of_Distribution"][0].prompt == "where do the cells live?"


def test_both_forms_of_counterfact_are_read() -> None:
    original, flat = one(COUNTERFACT), one(FLAT)
    assert original.request.prompt == "Ellie is a citizen of"
    assert [p.prompt for p in original.rephrase] == COUNTERFACT["paraphrase_prompts"]
    assert flat.rephrase[0].prompt == FLAT["rephrase_prompt"]
    assert flat.locality["Neighborhood"][0].answer == original_name(flat)


def original_name(case: EditCase) -> str | None:
    return case.request.target_old


@pytest.mark.parametrize("name", data_names())
def test_the_bundled_sets_are_read_without_a_bad_row(name: str) -> None:
    for split in ("train", "test"):
        dataset = load(name, split)
        assert dataset.cases
        assert dataset.bad == ()
        assert len({case.id for case in dataset.cases}) == len(dataset.cases)


def test_the_first_cases_take_the_tasks_in_turn() -> None:
    tasks = [case.task for case in load("atlas-knowedit").first(12)]
    assert len(set(tasks)) == 6
    assert tasks[:6] == tasks[6:]


def test_bad_rows_are_reported_with_source_index_and_reason(tmp_path: Path) -> None:
    rows = [FLAT, {**FLAT, "subject": "Zed"}, {"a": 1}, 7, {**FLAT, "prompt": ""}]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(rows))
    dataset = load(path)
    assert len(dataset.cases) == 1
    assert [(bad.source, bad.index) for bad in dataset.bad] == [("mine.json", i) for i in (1, 2, 3, 4)]
    assert "does not contain the subject" in dataset.bad[0].reason
    assert "no known format" in str(dataset.bad[1])


def test_a_broken_line_is_a_bad_row_and_other_ends_of_line_are_text(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    lines = (json.dumps(KNOWEDIT | {"target_new": "Bern\u2028lin"}, ensure_ascii=False), " ", '{"cut": ', "[]")
    path.write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    data = load(path)
    assert [case.request.target_new for case in data.cases] == ["Bern\nlin"]
    assert [str(row) for row in data.bad] == [
        "some.jsonl, row 1: a row must be an object, not str",
        "some.jsonl, row 2: a row must be an object, not list",
    ]


def test_every_fact_to_be_forgotten_is_a_case_however_the_file_is_laid_out(tmp_path: Path) -> None:
    both = SANITATION | {"K_F": [SANITATION["K_F"][0], SANITATION["K_F"][0] | {"ground_truth": "7 Elm"}]}
    for name, content in (("one.json", both), ("list.json", [both]), ("empty.json", [SANITATION, {"K_F": []}])):
        (tmp_path / name).write_text(json.dumps(content))
    for name in ("one.json", "list.json"):
        assert [case.request.target_old for case in load(tmp_path / name).cases] == ["12 Oak Street", "7 Elm"]
    (bad,) = load(tmp_path / "empty.json").bad
    assert bad.reason == "an answer or a list that is needed is empty"


def test_rows_of_several_hops_are_told_where_they_are_asked(tmp_path: Path) -> None:
    (tmp_path / "mquake.json").write_text(json.dumps([{"questions": ["Who?"], "requested_rewrite": []}]))
    with pytest.raises(InvalidRequest, match="ketools multihop"):
        load(tmp_path / "mquake.json")


def test_a_file_of_json_lines_and_a_file_of_two_lists_are_read(tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps(FLAT) + "\n\n" + json.dumps(KNOWEDIT) + "\n")
    assert len(load(lines).cases) == 2
    lists = tmp_path / "sanitation.json"
    lists.write_text(json.dumps(SANITATION))
    assert load(lists).cases[0].locality["Neighborhood"]


@pytest.mark.parametrize("text", ["not json", '{"rows": 3}', "[]", '[{"a": 1}]'])
def test_a_file_that_holds_no_case_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(InvalidRequest, match="broken"):
        load(path)


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(NotFound, match="atlas-knowedit"):
        load("atlas-knowedti")
    with pytest.raises(NotFound, match="test"):
        load("atlas-knowedit", "tset")


@pytest.mark.parametrize(
    ("truth", "answers"),
    [
        ("Paris", ["Paris"]),
        (["Paris", "Paname"], ["Paris", "Paname"]),
        ([["Paris", "Paname"], ["Paris"]], ["Paris", "Paname"]),
        ([[]], []),
        (None, []),
        (1912, ["1912"]),
    ],
)
def test_right_answers_are_found_in_every_published_shape(truth: object, answers: list[str]) -> None:
    assert answers_of(truth) == answers


RIPPLE = {
    "edit": {
        "prompt": "The name of the spouse of Ann Lee is Bob Ray.",
        "subject_id": "Q1",
        "relation": "SPOUSE",
        "target_id": "Q2",
        "original_fact": {"prompt": "The name of the spouse of Ann Lee is Tom Fox.", "relation": "SPOUSE"},
    },
    "Compositionality_I": [
        {
            "test_queries": [
                {
                    "prompt": "The birthplace of the spouse of Ann Lee is",
                    "answers": [{"value": "Oslo", "aliases": ["Christiania"]}],
                    "query_type": "two_hop",
                }
            ]
        }
    ],
    "Logical_Generalization": [],
    "Subject_Aliasing": [
        {"test_queries": [{"prompt": "The spouse of A. Lee is", "answers": [{"value": "Bob Ray", "aliases": []}]}]}
    ],
    "Relation_Specificity": [
        {"test_queries": [{"prompt": "The mother of Ann Lee is", "answers": [{"value": "Eve", "aliases": []}]}]},
        {"test_queries": [{"prompt": "The father of Ann Lee is", "answers": []}]},
    ],
    "Forgetfulness": [],
}


def test_ripple_edits_become_single_edits_with_what_should_ripple_and_what_should_not() -> None:
    data = parse([RIPPLE, {**RIPPLE, "edit": {"prompt": "Ann weds Bob", "relation": "SPOUSE"}}], "ripple")
    (case,) = data.cases
    assert (case.request.subject, case.request.target_new, case.request.target_old) == ("Ann Lee", "Bob Ray", "Tom Fox")
    assert case.request.prompt == "The name of the spouse of Ann Lee is"
    assert case.portability["Reasoning"][0].answers == ("Oslo", "Christiania")
    assert set(case.portability) == {"Reasoning", "Subject_Aliasing"}
    assert [p.answer for p in case.locality["Relation_Specificity"]] == ["Eve"]
    assert [str(bad) for bad in data.bad] == ["ripple, row 1: the parts of 'Ann weds Bob' cannot be told apart"]


def query(prompt: str, *answers: str) -> dict[str, Any]:
    return {"prompt": prompt, "answers": [{"value": answer, "aliases": []} for answer in answers]}


def test_ripple_edits_keep_their_conditions_and_what_counts_together() -> None:
    first = {
        "test_condition": "AND",
        "test_queries": [
            query("The sister of Ann Lee is", "Eve"),
            query("The brother of Ann Lee is", "Max"),
            query("?"),
        ],
        "condition_queries": [query("The sister of Bob Ray is", "Eve"), query("The brother of Bob Ray is")],
    }
    second = {
        "test_condition": "OR",
        "test_queries": [query("The uncle of Ann Lee is", "Tim")],
        "condition_queries": [],
    }
    row = {**RIPPLE, "Logical_Generalization": [first, second], "Forgetfulness": [{"test_queries": [query("?")]}]}
    wrong = {**RIPPLE, "Forgetfulness": [{**second, "test_condition": "XOR"}]}
    data = parse([row, wrong], "ripple")
    (case,) = data.cases
    sister, brother, uncle = (p.test for p in case.portability["Logical_Generalization"])
    assert sister is not None and uncle is not None
    assert sister == brother and sister.every
    assert [(p.prompt, p.answers) for p in sister.conditions] == [("The sister of Bob Ray is", ("Eve",))]
    assert (uncle.every, uncle.conditions) == (False, ())
    numbers = [
        p.test.number for kinds in (case.portability, case.locality) for k in kinds.values() for p in k if p.test
    ]
    assert len(set(numbers)) == len(numbers) - 1
    assert case.conditions == sister.conditions
    assert "Forgetfulness" not in case.locality
    assert [str(bad) for bad in data.bad] == ["ripple, row 1: a test condition is AND or OR, not 'XOR'"]
