"""MeLLo and PokeMQA, led by a reader that keeps to their forms, and by one that does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ketools.core.errors import ModelError
from ketools.core.requests import EditRequest
from ketools.core.results import MultihopAnswer
from ketools.evaluation.mquake import MultihopCase, MultihopData
from ketools.multihop import EditMemory, Finished, MultihopResources, Writer, mello, pokemqa, run
from ketools.multihop.oracle import OracleReader
from ketools.retrieval import Vectors

Edit = Callable[[str, str, str], EditRequest]
LOOPS = ("mello", "pokemqa")


class Parrot:
    """A model that says the same to everything."""

    def __init__(self, said: str) -> None:
        self.said = said

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        return [self.said] * len(texts)

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        return [self.said] * len(questions)


class Down:
    """An encoder that cannot be reached."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise ModelError("The embedding server is down. Start it and ask again.")


def edits_of(resources: MultihopResources, *cases: MultihopCase) -> EditMemory:
    return resources.memory([(f"{case.id}.{i}", e.request) for case in cases for i, e in enumerate(case.edits)])


def asked(
    resources: MultihopResources, agent: str, memory: EditMemory, question: str, writer: Writer
) -> MultihopAnswer:
    *_, last = run(resources.program(agent, memory, question), writer)
    assert isinstance(last, Finished)
    return last.result


@pytest.mark.parametrize("agent", [*LOOPS, "auto"])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_agent_follows_chains_of_two_to_four_hops(
    plain_kit: MultihopResources, sample: MultihopData, agent: str, number: int
) -> None:
    case = sample.cases[number]
    result = asked(plain_kit, agent, edits_of(plain_kit, case), case.questions[0], OracleReader(sample.cases))
    assert result.complete and len(result.hops) == len(case.after)
    if agent == "pokemqa":  # its detector was trained on the words of the bundled world, which are others
        return
    assert result.answer == case.new_answers[0]
    assert [hop.answer for hop in result.hops] == [hop.answers[0] for hop in case.after]
    assert result.affected and set(result.citations) == {f"{case.id}.{i}" for i in range(len(case.edits))}


@pytest.mark.parametrize("agent", LOOPS)
def test_a_chain_longer_than_the_bound_stops_with_the_step_named(
    plain_kit: MultihopResources, sample: MultihopData, agent: str
) -> None:
    case = sample.cases[2]
    memory = plain_kit.memory([])
    if agent == "mello":
        program = mello(case.questions[0], memory, plain_kit.prompts, most_hops=3)
    else:
        program = pokemqa(case.questions[0], memory, plain_kit.prompts, plain_kit.detector, most_hops=3)
    *_, last = run(program, OracleReader(sample.cases))
    assert isinstance(last, Finished)
    result = last.result
    assert not result.complete and result.failed_step == 4 and "longer than 3 hops" in result.reason
    assert len(result.hops) == 3 and result.answer == result.hops[-1].answer
    assert result.generations == 4


@pytest.mark.parametrize("agent", [*LOOPS, "auto"])
@pytest.mark.parametrize("said", ["Nice weather today.", "", "Subquestion:", "Final answer:", "Generated answer:" * 30])
def test_a_model_that_never_follows_the_form_is_stopped_and_counted(
    plain_kit: MultihopResources, agent: str, said: str
) -> None:
    memory = plain_kit.memory([])
    result = asked(plain_kit, agent, memory, "What is the name of the oldest song of Ann Lee's town?", Parrot(said))
    assert not result.complete and result.malformed >= 1 and result.failed_step is not None
    assert result.generations <= 5 and result.reason


@pytest.mark.parametrize("agent", LOOPS)
def test_a_model_that_repeats_one_hop_stays_within_the_bound(plain_kit: MultihopResources, agent: str) -> None:
    forever = (
        "Retrieved fact contradicts to generated answer, so the intermediate answer is: Oslo\n"
        "According to Generated answer, the entity of Subquestion is: Oslo\nSubquestion: And then?\n"
    )
    result = asked(plain_kit, agent, plain_kit.memory([]), "Where does it end?", Parrot(forever))
    assert not result.complete and result.generations == 5 and len(result.hops) == 4 and result.answer == "Oslo"


@pytest.mark.parametrize("agent", LOOPS)
def test_an_empty_memory_leaves_every_answer_to_the_model(
    plain_kit: MultihopResources, sample: MultihopData, agent: str
) -> None:
    case = sample.cases[0]
    result = asked(plain_kit, agent, plain_kit.memory([]), case.questions[0], OracleReader(sample.cases))
    assert result.complete and not result.affected and result.answer in case.old_answers


@pytest.mark.parametrize("agent", LOOPS)
def test_a_retriever_that_is_down_ends_the_chain_with_its_error(
    plain_kit: MultihopResources, sample: MultihopData, agent: str
) -> None:
    case = sample.cases[0]
    resources = MultihopResources(plain_kit.prompts, Down())
    result = asked(resources, agent, edits_of(resources, case), case.questions[0], OracleReader(sample.cases))
    assert not result.complete and result.failed_step == 1 and "embedding server is down" in result.reason


def test_mello_puts_in_a_fact_unasked_and_pokemqa_only_one_in_scope(
    plain_kit: MultihopResources, sample: MultihopData, edit: Edit
) -> None:
    memory = plain_kit.memory([("far", edit("Tunaworks", "industry", "fishing"))])
    question, writer = sample.cases[0].questions[0], OracleReader(sample.cases)
    shown = {}
    for agent in LOOPS:
        events = list(run(plain_kit.program(agent, memory, question), writer))
        shown[agent] = [e.in_scope for e in events if e.type == "retrieved"]
    assert shown == {"mello": [None, None], "pokemqa": [False, False]}
