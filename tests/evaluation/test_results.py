"""What is summed up, on hand-computed cases."""

from __future__ import annotations

from ketools.core.requests import Kind
from ketools.evaluation.results import Answer, CaseResult, summarise


def answer(kind: str, passed: bool, test: int | None = None, every: bool = False) -> Answer:
    return Answer(
        group="portability", kind=kind, prompt="p", chat=False, answer="a", passed=passed, test=test, every=every
    )


def result(*answers: Answer, unasked: int = 0) -> CaseResult:
    return CaseResult(id="1", task="t", kind=Kind.MODIFY, ms=1.0, target="a", answers=answers, unasked=unasked)


def test_answers_of_one_test_count_as_one_by_its_rule() -> None:
    found = result(
        answer("Reasoning", True),
        answer("Reasoning", True, test=0, every=True),
        answer("Reasoning", False, test=0, every=True),
        answer("Reasoning", False, test=1),
        answer("Reasoning", True, test=1),
        answer("Reasoning", False, test=2),
        answer("Aliasing", True, test=3, every=True),
        answer("Aliasing", True, test=3, every=True),
    )
    # Alone: passed; AND: missed; OR: passed; the last: missed.
    assert found.share_of("portability", "Reasoning") == 2 / 4
    assert found.share_of("portability", "Aliasing") == 1
    assert found.portability == 0.75


def test_prompts_that_were_left_out_are_counted_and_no_part_of_a_mean() -> None:
    summary = summarise([result(answer("Reasoning", True), unasked=2), result(unasked=1)])
    assert (summary.unasked, summary.portability, summary.cases["portability"]) == (3, 1.0, 1)
    assert summary.by_kind["portability"]["Reasoning"].n == 1
    assert summary.counts["portability"] == 1


def test_a_case_without_answers_of_a_kind_has_no_share_of_it() -> None:
    assert result().share_of("portability", "Reasoning") is None
    assert result().portability is None
