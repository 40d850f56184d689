"""A space evaluated and methods compared, as jobs over the bundled model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.requests import EditRequest
from ketools.editing.editor import Editor
from ketools.evaluation.assessment import MethodStanding, recommended
from ketools.evaluation.metrics import interval, mean
from ketools.evaluation.results import Measure
from ketools.layers.artefacts import Artefact
from ketools.tools.toolbox import FactInput, Toolbox

FACTS = [
    FactInput(subject="France", prompt="The capital of France is", target_new="Lyon"),
    FactInput(subject="Japan", prompt="The capital of Japan is", target_new="Osaka"),
]


def measure(*values: float) -> Measure:
    return Measure(value=mean(values), n=len(values), ci=interval(values))


def standing(method: str, accepted: tuple[float, ...], success: float, ms: float) -> MethodStanding:
    same = measure(success)
    return MethodStanding(
        method=method,
        n=len(accepted),
        success=same,
        locality=measure(1.0),
        probability=same,
        accepted=measure(*accepted),
        failing={},
        ms=ms,
    )


def test_a_space_is_evaluated_edit_by_edit_and_an_edit_that_does_not_hold_is_named(box: Toolbox) -> None:
    made = box.edit_facts(FACTS, space="session/1", method="ice")
    assert made.committed == 2
    job = box.evaluate_space("session/1", wait=True)
    assert job.state == "done"
    found = job.result
    assert (found["n"], found["erased"], found["version"]) == (2, 0, made.version)
    assert found["success"]["n"] == 2
    low, high = found["success"]["ci"]
    assert low <= found["success"]["value"] <= high
    refused = [r.edit_id for r in made.results if not r.verified]
    assert list(found["failing"]) == refused


def test_an_empty_space_and_an_unknown_one(box: Toolbox) -> None:
    assert box.evaluate_space(wait=True).result["n"] == 0
    with pytest.raises(NotFound):
        box.evaluate_space("user/nobody")


def test_methods_are_compared_on_the_same_facts_and_nothing_is_committed(box: Toolbox) -> None:
    job = box.compare_methods(FACTS, ["ice", "ike"], wait=True)
    assert job.state == "done"
    assert set(job.result["methods"]) == {"ice", "ike"}
    assert job.result["recommended"] in ("ice", "ike")
    assert all(m["n"] == 2 and m["success"]["probes"] >= 2 for m in job.result["methods"].values())
    assert box.service.journal.head("global").live == ()
    with pytest.raises(NotFound):
        box.compare_methods(FACTS, ["magic"])
    with pytest.raises(InvalidRequest):
        box.compare_methods([FACTS[0].model_copy(update={"prompt": "Nobody is"})], ["ice"])


def test_a_compared_method_is_told_the_old_answer_and_the_relation_and_one_that_cannot_edit_is_refused(
    box: Toolbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[EditRequest] = []
    compute = Editor.compute

    def watched(self: Editor, name: str, requests: Sequence[EditRequest], *rest: Any) -> list[Artefact]:
        told.extend(requests)
        if name == "ike":
            raise InvalidRequest("No neuron stands out.")
        return compute(self, name, requests, *rest)

    monkeypatch.setattr(Editor, "compute", watched)
    given = FACTS[1].model_copy(update={"target_old": "Kyoto"})
    found = box.compare_methods([FACTS[0], given], ["ice", "ike"], wait=True).result
    assert [(r.target_old, r.relation) for r in told] == [("Paris.", "capital"), ("Kyoto", "capital")] * 2
    assert found["methods"]["ike"]["accepted"]["value"] == 0
    assert set(found["methods"]["ike"]["failing"].values()) == {"No neuron stands out."}
    assert found["methods"]["ice"]["n"] == found["methods"]["ike"]["n"] == 2


def test_the_recommendation_puts_accepted_edits_first_then_quality_then_time() -> None:
    sure = standing("sure", (1.0, 1.0), 0.9, 500)
    quick = standing("quick", (1.0, 0.0), 1.0, 1)
    best, reasons = recommended([quick, sure])
    assert best == "sure"
    assert reasons[1].startswith("Behind: quick: 1 of 2")
    assert "overlap" in reasons[-1]
    best, reasons = recommended([sure, sure.model_copy(update={"method": "faster", "ms": 3.0})])
    assert best == "faster"
    assert reasons[1].startswith("As good, but slower: sure")
