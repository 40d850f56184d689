"""The survey's kinds of wrong answers, on answers whose kind a reader would name."""

from __future__ import annotations

import pytest

from ketools.core.requests import Kind
from ketools.evaluation.failures import Failure, failure_of, failures
from ketools.evaluation.results import Answer, CaseResult


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", Failure.MEANINGLESS),
        ("\n\n", Failure.MEANINGLESS),
        (".,.,.", Failure.MEANINGLESS),
        ("the the the", Failure.MEANINGLESS),
        ("is made of is made of is made of", Failure.MEANINGLESS),
        ("University", Failure.MISSING),
        ("of Oxford", Failure.MISSING),
        ("University of Cambridge", Failure.PARTIAL),
        ("Oxford Brookes", Failure.PARTIAL),
        ("Harvard College", Failure.PARTIAL),
        ("a red apple", Failure.IRRELEVANT),
        ("Rome", Failure.IRRELEVANT),
    ],
)
def test_the_kind_of_a_wrong_answer(answer: str, kind: Failure) -> None:
    assert failure_of(answer, "University of Oxford", ["Harvard"]) is kind


def test_only_wrong_answers_to_edits_of_facts_are_counted() -> None:
    def answer(text: str, passed: bool, group: str = "success") -> Answer:
        return Answer(group=group, kind="k", prompt="p", chat=False, answer=text, passed=passed)

    answers = (
        answer("Lima", True),
        answer("Rome", False),
        answer("", False, "rephrase"),
        answer("x", False, "locality"),
    )
    fact = CaseResult(id="1", task="t", kind=Kind.MODIFY, ms=1, target="Lima", old="Paris", answers=answers)
    manner = fact.model_copy(update={"kind": Kind.PERSONALITY})
    found = failures([fact, manner])
    assert found[Failure.IRRELEVANT] == found[Failure.MEANINGLESS] == 1
    assert sum(found.values()) == 2
