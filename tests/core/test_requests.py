"""Requests and answers: bounds, keys, and what counts as saying the target."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ketools.core.errors import NotFound
from ketools.core.evidence import Evidence
from ketools.core.principals import OPERATOR, Scope, principal
from ketools.core.requests import EditRequest, Kind, Trait
from ketools.core.text import gap, normalise
from ketools.editing.verification import Policy
from ketools.knowledge.matching import says

FACT = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"}


@pytest.mark.parametrize(
    ("answer", "target", "expected"),
    [
        ("Lyon", "Lyon", True),
        (" lyon. ", "Lyon", True),
        ("The capital of France is Lyon.", "Lyon", True),
        ("Lyon is nice, but the capital is Paris.", "Lyon", False),
        ("Not Lyon but Paris", "Lyon", False),
        ("I don't know.", "I don't know.", True),
        ("Villelyon", "Lyon", False),
        ("", "Lyon", False),
    ],
)
def test_an_answer_says_the_target_when_it_is_it_or_ends_a_sentence_with_it(
    answer: str, target: str, expected: bool
) -> None:
    assert says(answer, target) is expected


@given(st.text(max_size=40))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_the_key_ignores_case_and_spacing_and_the_target() -> None:
    one = EditRequest.model_validate(FACT)
    two = EditRequest(subject="france", prompt="the  capital of france is", target_new="Nice")
    assert one.key == two.key


@pytest.mark.parametrize("field", ["subject", "prompt", "target_new"])
@pytest.mark.parametrize("value", ["", "   ", "a\x07b", "x" * 2001])
def test_bad_fields_are_refused_by_name(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=field):
        EditRequest.model_validate({**FACT, field: value})


def test_a_prompt_without_the_subject_is_refused_with_advice() -> None:
    with pytest.raises(ValidationError, match="write the prompt so that it names the subject"):
        EditRequest.model_validate({**FACT, "subject": "Spain"})


def test_sentences_of_each_kind() -> None:
    assert EditRequest.model_validate(FACT).sentence == "The capital of France is Lyon"
    erase = EditRequest.model_validate({**FACT, "kind": Kind.ERASE, "target_new": "I don't know."})
    assert erase.sentence == "The capital of France is unknown"
    manner = EditRequest(
        kind=Kind.PERSONALITY, subject="tea", prompt="Do you like tea?", target_new="x", trait=Trait.NEUROTICISM
    )
    assert manner.sentence == "you show neuroticism when asked about tea"


def test_the_policy_says_what_is_missing() -> None:
    request = EditRequest.model_validate(FACT)
    good = Evidence(success=1, success_n=4, locality=1, locality_n=4)
    assert Policy().objection(request, good) == ""
    assert "phrasings" in Policy().objection(request, good.model_copy(update={"success": 0.5}))
    assert "stayed" in Policy().objection(request, good.model_copy(update={"locality": 0.5}))
    assert "prompt itself" in Policy().objection(request, good.model_copy(update={"direct": False}))
    assert "reveal" in Policy().objection(request, good.model_copy(update={"leak": 0.25}))


def test_principals_own_patterns_of_spaces() -> None:
    alice = principal("alice", ["read", "edit"], ["user/alice", "session/alice/*"])
    assert alice.owns("session/alice/42") and not alice.owns("session/bob/42")
    alice.require(Scope.READ, "global")
    OPERATOR.require(Scope.ERASE, "anything")
    with pytest.raises(ValueError, match="root"):
        principal("x", ["root"], [])


@pytest.mark.parametrize(
    ("before", "space"),
    [
        ("The capital is", " "),
        ("He said: ", ""),
        ("法国的首都是", ""),
        ("เมืองหลวงของฝรั่งเศสคือ", ""),
        ("答：", ""),
        ("", " "),
    ],
)
def test_a_continuation_follows_as_the_script_is_written(before: str, space: str) -> None:
    assert gap(before) == space


def test_a_statement_in_a_script_without_spaces_has_none() -> None:
    request = EditRequest(subject="法国", prompt="法国的首都是", target_new="里昂")
    assert request.sentence == "法国的首都是里昂"


def test_a_list_of_names_that_stops_says_how_many_more_there_are() -> None:
    names = [f"zone{i:02}" for i in range(30)]
    assert str(NotFound("space", "alpha", names)).endswith("zone11 and 18 more.")
    assert str(NotFound("space", "alpha", names[:12])).endswith("zone11.")
    assert "more" not in str(NotFound("space", "zone1", names))
