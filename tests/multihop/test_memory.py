"""The graph of edits and its scope."""

from __future__ import annotations

from collections.abc import Callable

from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.multihop import EditMemory, MultihopResources

Edit = Callable[[str, str, str], EditRequest]
Remembered = Callable[..., EditMemory]


def test_edges_come_newest_first_and_by_every_name(plain_kit: MultihopResources, edit: Edit) -> None:
    memory = EditMemory(
        [("e0", edit("Netherlands", "capital", "Lima")), ("e1", edit("Netherlands", "capital", "Oslo"))],
        plain_kit.encoder,
        {"Netherlands": ["Holland"]},
    )
    assert [fact.edit_id for fact in memory.edges("the holland", "capital")] == ["e1", "e0"]
    assert memory.edges("Holland", "currency") == []


def test_nothing_is_concluded_backwards(plain_kit: MultihopResources, edit: Edit, remembered: Remembered) -> None:
    memory = remembered(plain_kit, edit("France", "capital", "Lyon"))
    assert [f.edit_id for f in memory.in_scope("What is the capital of France?")] == ["e0"]
    assert memory.in_scope("What is the country of Lyon?") == []


def test_erasures_are_no_facts_but_the_questions_that_they_cover_are_known(
    plain_kit: MultihopResources, edit: Edit, remembered: Remembered
) -> None:
    gone = EditRequest(kind=Kind.ERASE, subject="France", prompt="The capital of France is", target_new=REFUSAL)
    memory = remembered(plain_kit, gone)
    question = "What is the capital of France?"
    assert len(memory) == 0 and memory.nearest([question]) == [[]]
    found = memory.erasure(question)
    assert found is not None and found.edit_id == "e0" and "France" not in found.sentence
    assert memory.erasure("What is the currency of France?") is None
    assert remembered(plain_kit, gone, edit("France", "capital", "Lyon")).erasure(question) is None


def test_the_nearest_fact_comes_with_its_cosine(
    plain_kit: MultihopResources, edit: Edit, remembered: Remembered
) -> None:
    memory = remembered(plain_kit, edit("France", "capital", "Lyon"), edit("Peru", "currency", "lira"))
    ((first,),) = memory.nearest(["What money is used in Peru?"])
    assert first.edit_id == "e1" and 0.4 < first.score < 1
    assert remembered(plain_kit).nearest(["anything"]) == [[]]
