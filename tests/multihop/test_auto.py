"""ketools' own agent on the bundled model, and its ways out of trouble."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ketools.core.errors import ModelError
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.core.results import MultihopAnswer
from ketools.engines.local import LocalEngine
from ketools.multihop import AGENTS, EditMemory, EngineWriter, Finished, MultihopResources, run, run_all
from ketools.multihop.events import Event
from ketools.retrieval import Vectors

Edit = Callable[[str, str, str], EditRequest]
Remembered = Callable[..., EditMemory]
QUESTION = "What is the currency of the country of Lima?"


def events(resources: MultihopResources, memory: EditMemory, question: str, engine: LocalEngine) -> list[Event]:
    return list(run(resources.program("auto", memory, question), EngineWriter(engine)))


def result_of(happened: Sequence[Event]) -> MultihopAnswer:
    last = happened[-1]
    assert isinstance(last, Finished)
    return last.result


def test_the_model_answers_the_hops_that_were_not_edited(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered
) -> None:
    memory = remembered(atlas_kit, edit("Lima", "country_of", "Japan"))
    happened = events(atlas_kit, memory, QUESTION, engine)
    result = result_of(happened)
    assert (result.answer, result.complete, result.citations) == ("yen", True, ("e0",))
    assert [(hop.source, hop.answer) for hop in result.hops] == [("edit", "Japan"), ("model", "yen")]
    assert [e.type for e in happened] == [
        "planned",
        "subquestion",
        "retrieved",
        "intermediate",
        "subquestion",
        "intermediate",
        "finished",
    ]
    assert "e0" in result.line()


def test_an_answer_that_no_edit_touches_says_so(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered
) -> None:
    memory = remembered(atlas_kit, edit("Oslo", "country_of", "Japan"))
    result = result_of(events(atlas_kit, memory, QUESTION, engine))
    assert result.complete and not result.affected and result.citations == ()
    assert "not affected by any edit" in result.line()
    assert result.answer == result_of(events(atlas_kit, remembered(atlas_kit), QUESTION, engine)).answer


def test_of_contradicting_edits_the_newest_counts_and_the_conflict_is_told(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered
) -> None:
    older = EditRequest(subject="Lima", prompt="What is the country of Lima?", target_new="Kenya")
    memory = remembered(atlas_kit, older, edit("Lima", "country_of", "Japan"))
    happened = events(atlas_kit, memory, QUESTION, engine)
    result = result_of(happened)
    assert result.answer == "yen" and result.citations == ("e1",)
    (told,) = result.conflicts
    assert "e1 (Japan)" in told and "e0 (Kenya)" in told
    assert [e.chosen for e in happened if e.type == "conflict"] == ["e1"]


def test_of_scoped_edits_that_contradict_each_other_the_newest_counts_too(
    atlas_kit: MultihopResources, engine: LocalEngine, remembered: Remembered
) -> None:
    older = EditRequest(subject="Lima", prompt="The twin town of Lima is", target_new="Oslo")
    newer = EditRequest(subject="Lima", prompt="Lima has as its twin town", target_new="Rome")
    memory = remembered(atlas_kit, older, newer)
    result = result_of(events(atlas_kit, memory, "What is the twin town of Lima?", engine))
    assert result.answer == "Rome" and result.citations == ("e1",)
    assert "e0 (Oslo)" in result.conflicts[0]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_chain_ends_at_a_fact_that_was_erased(
    atlas_kit: MultihopResources, engine: LocalEngine, remembered: Remembered, agent: str
) -> None:
    gone = EditRequest(kind=Kind.ERASE, subject="Lima", prompt="The country of Lima is", target_new=REFUSAL)
    result = result_of([*run(atlas_kit.program(agent, remembered(atlas_kit, gone), QUESTION), EngineWriter(engine))])
    assert (result.answer, result.complete, result.citations) == (REFUSAL, True, ("e0",))
    assert "Peru" not in result.model_dump_json()


def test_edits_outside_the_known_relations_are_found_by_their_words(
    atlas_kit: MultihopResources, engine: LocalEngine, remembered: Remembered
) -> None:
    custom = EditRequest(subject="Lima", prompt="The twin town of Lima is", target_new="Oslo")
    result = result_of(events(atlas_kit, remembered(atlas_kit, custom), "What is the twin town of Lima?", engine))
    assert result.answer == "Oslo" and result.affected


def test_a_chain_that_nobody_can_follow_names_its_step_and_keeps_its_beginning(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered
) -> None:
    memory = remembered(atlas_kit, edit("Lima", "country_of", "Quabbledon"))
    result = result_of(events(atlas_kit, memory, QUESTION, engine))
    assert not result.complete and result.failed_step == 2
    assert [hop.answer for hop in result.hops] == ["Quabbledon"] and result.answer == "Quabbledon"
    assert "Nobody knows" in result.reason


def test_a_question_longer_than_the_context_gives_a_clear_reason(
    atlas_kit: MultihopResources, engine: LocalEngine
) -> None:
    question = "What is the currency of " + "the spouse of " * 1500 + "?"
    result = result_of(events(atlas_kit, atlas_kit.memory([]), question, engine))
    assert not result.complete and result.answer is None and "Shorten it" in result.reason


class Down:
    """An encoder that cannot be reached."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise ModelError("The embedding server is down.")


def test_exact_edges_are_found_while_the_retriever_is_down(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit
) -> None:
    resources = MultihopResources(atlas_kit.prompts, Down())
    custom = EditRequest(subject="Japan", prompt="In Japan people like to eat", target_new="pie")
    memory = resources.memory([("e0", edit("Lima", "country_of", "Japan")), ("e1", custom)])
    result = result_of(events(resources, memory, QUESTION, engine))
    assert result.answer == "yen" and result.complete and "retriever is down" in result.reason


def test_many_questions_share_their_model_calls_and_one_bad_one_harms_nobody(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered
) -> None:
    memory = remembered(atlas_kit, edit("Lima", "country_of", "Japan"))
    questions = [QUESTION, "word " * 3000, "What is the capital of the country of Lima?"]
    programs = [atlas_kit.program("auto", memory, question) for question in questions]
    calls = Counting(EngineWriter(engine))
    found = {i: e.result for i, e in run_all(programs, calls) if isinstance(e, Finished)}
    assert [found[i].answer for i in (0, 2)] == ["yen", "Tokyo"] and not found[1].complete
    assert calls.most == 2


class Counting:
    """A writer that knows how many questions came at once."""

    def __init__(self, writer: EngineWriter) -> None:
        self._writer, self.most = writer, 0

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        return self._writer.complete(texts, stops, tokens)

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        self.most = max(self.most, len(questions))
        return self._writer.answer(questions, tokens)


@pytest.mark.parametrize("agent", ["mello", "pokemqa"])
def test_the_published_loops_run_on_the_bundled_model(
    atlas_kit: MultihopResources, engine: LocalEngine, edit: Edit, remembered: Remembered, agent: str
) -> None:
    memory = remembered(atlas_kit, edit("Lima", "country_of", "Japan"))
    *_, last = run(atlas_kit.program(agent, memory, "What is the country of Lima?"), EngineWriter(engine))
    assert isinstance(last, Finished) and last.result.generations >= 1 and last.result.agent == agent
