"""Requirements as a gate states them."""

from __future__ import annotations

import pytest

from ketools.edits import Kind
from ketools.errors import InvalidRequest
from ketools.evaluation.gate import misses, requirements
from ketools.evaluation.results import Answer, CaseResult, summarise


def result(passed: bool) -> CaseResult:
    answer = Answer(group="success", kind="direct", prompt="p", chat=False, answer="a", passed=passed)
    return CaseResult(id="1", task="t", kind=Kind.MODIFY, ms=3.0, target="a", answers=(answer,))


GOOD, HALF = summarise([result(True)]), summarise([result(True), result(False)])


def test_every_method_must_meet_every_requirement() -> None:
    wanted = requirements("success>=0.95, ms_per_edit<5")
    assert [str(r) for r in wanted] == ["success>=0.95", "ms_per_edit<5"]
    assert misses(wanted, {"a": GOOD}) == []
    assert misses(wanted, {"a": GOOD, "b": HALF}) == ["b: success>=0.95: 0.5, n 2"]


def test_a_bound_itself_meets_only_comparisons_that_include_it() -> None:
    assert not misses(requirements("success>=0.5,success<=0.5"), {"a": HALF})
    assert len(misses(requirements("success>0.5,success<0.5"), {"a": HALF})) == 2


def test_numbers_may_be_written_short() -> None:
    assert [r.bound for r in requirements("success>=.95,kl<1e-3,n>=2.")] == [0.95, 0.001, 2.0]


def test_what_was_not_measured_meets_no_requirement() -> None:
    assert misses(requirements("leak<=1"), {"a": GOOD}) == ["a: leak<=1: nothing was measured"]


@pytest.mark.parametrize(
    "text", ["succes>=0.9", "success=0.9", "success>=", "by_kind>=1", "success>=0.9;", "success>=."]
)
def test_what_is_no_requirement_is_refused_with_the_measures_there_are(text: str) -> None:
    with pytest.raises(InvalidRequest, match="portability"):
        requirements(text)
