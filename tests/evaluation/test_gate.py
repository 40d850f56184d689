"""Requirements as a gate states them."""

from __future__ import annotations

import pytest

from ketools.core.errors import InvalidRequest
from ketools.core.requests import Kind
from ketools.evaluation.data import parse
from ketools.evaluation.gate import Names, Requirement, misses, requirements
from ketools.evaluation.results import Answer, CaseResult, summarise
from ketools.evaluation.run import MethodRun
from ketools.evaluation.runner import Checkpoint

ROW = {
    "subject": "Peru",
    "prompt": "The capital of Peru is",
    "target_new": "Lima",
    "portability": {"Reasoning": [{"prompt": "The river of Peru is", "ground_truth": "Rimac"}]},
    "locality": {"Neighborhood": [{"prompt": "Alice works for", "ground_truth": "Acme"}]},
}
NAMES = Names.of(parse([ROW, ROW | {"task": "zsre"}], "rows", task="wiki 1.0").cases)


def result(passed: bool, task: str = "wiki 1.0") -> CaseResult:
    answers = [
        Answer(group="success", kind="direct", prompt="p", chat=False, answer="a", passed=passed),
        Answer(group="portability", kind="Reasoning", prompt="p", chat=False, answer="a", passed=passed),
        Answer(group="locality", kind="Neighborhood", prompt="p", chat=False, answer="a", passed=True),
    ]
    return CaseResult(id="1", task=task, kind=Kind.MODIFY, ms=3.0, target="a", answers=tuple(answers), kl=0.25)


GOOD, HALF = summarise([result(True)]), summarise([result(True), result(False, "zsre")])


def read(text: str) -> list[Requirement]:
    return requirements(text, NAMES)


def test_every_method_must_meet_every_requirement() -> None:
    wanted = read("success>=0.95, ms_per_edit<5")
    assert [str(r) for r in wanted] == ["success>=0.95", "ms_per_edit<5"]
    assert misses(wanted, {"a": GOOD}) == []
    assert misses(wanted, {"a": GOOD, "b": HALF}) == ["b: success>=0.95: 0.5, n 2"]


def test_a_bound_itself_meets_only_comparisons_that_include_it() -> None:
    assert not misses(read("success>=0.5,success<=0.5"), {"a": HALF})
    assert len(misses(read("success>0.5,success<0.5"), {"a": HALF})) == 2


def test_numbers_may_be_written_short() -> None:
    assert [r.bound for r in read("success>=.95,kl<1e-3,n>=2.")] == [0.95, 0.001, 2.0]


def test_what_was_not_measured_meets_no_requirement() -> None:
    wanted = read("leak<=1,perplexity<=1000,zsre.success>=0,peak_mb<=1e9")
    told = ["leak<=1", "perplexity<=1000", "zsre.success>=0", "peak_mb<=1e+09"]
    assert misses(wanted, {"a": GOOD}) == [f"a: {one}: nothing was measured" for one in told]


def test_a_kind_and_a_task_of_the_data_set_can_be_required() -> None:
    wanted = read(
        "portability.Reasoning>=0.8,locality.Neighborhood>=.95,zsre.success>=.97,wiki 1.0.success>=1,zsre.n>=1"
    )
    assert misses(wanted, {"a": HALF}) == ["a: portability.Reasoning>=0.8: 0.5, n 2", "a: zsre.success>=0.97: 0, n 1"]


def test_what_should_be_low_is_required_from_above() -> None:
    assert misses(read("kl<=0.3,zsre.kl<=0.2"), {"a": HALF}) == ["a: zsre.kl<=0.2: 0.25, n 1"]


def test_perplexity_is_that_after_the_last_edit_and_its_ratio_to_that_before() -> None:
    points = [
        Checkpoint(edits=n, summary=GOOD, perplexity=p, perplexity_before=4.0, tokens=90) for n, p in ((1, 4), (2, 6))
    ]
    run = MethodRun(**dict(GOOD), label="a", checkpoints=tuple(points))
    assert misses(read("perplexity<=5,perplexity_before<=4,perplexity_ratio<=1.5"), {"a": run}) == [
        "a: perplexity<=5: 6, n 90"
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("succes>=0.9", "success=0.9", "success>=", "by_kind>=1", "success>=0.9;", "success>=."),
        *("portability.Aliasing>=1", "locality.Reasoning>=1", "zsre.luck>=1", "mine.success>=1", "zsre.ms_per_edit<=1"),
    ],
)
def test_what_is_no_requirement_is_refused_with_the_names_there_are(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(text)
    for known in ("rephrase", "perplexity_ratio", "portability.Reasoning, locality.Neighborhood", "wiki 1.0, zsre"):
        assert known in str(refused.value)
