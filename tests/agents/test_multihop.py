"""The multi-hop agents as LangChain runnables, over the served model and over a LangChain model."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel, FakeListLLM

from ketools.agents.multihop import LangChainWriter, MultihopAgent
from ketools.core.errors import InvalidRequest, ModelError
from ketools.core.principals import OPERATOR
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.journal import Outcome
from ketools.layers.kinds.note import Note
from ketools.multihop import Finished
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "user/ann"
QUESTION = "What is the currency of the country of Lima?"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    """The bundled model with one edit in one space."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), consolidate=False)
    with closing(open_service(settings)) as opened:
        request = EditRequest(subject="Lima", prompt="The country of Lima is", target_new="Japan")
        assert opened.edits.edit(OPERATOR, request, SPACE, "ice").verified
        yield opened


def answer(event: object) -> str | None:
    assert isinstance(event, Finished)
    return event.result.answer


def test_stream_shows_every_step_and_invoke_gives_the_last(service: EditService) -> None:
    agent = MultihopAgent.over(service, SPACE)
    events = list(agent.stream(QUESTION))
    assert [e.type for e in events][:2] == ["planned", "subquestion"] and events[-1] == agent.invoke(QUESTION)
    assert answer(events[-1]) == "yen"


def test_batch_answers_many_questions_and_a_space_sees_its_own_edits(service: EditService) -> None:
    questions = [QUESTION, "What is the capital of the country of Lima?"]
    assert [answer(e) for e in MultihopAgent.over(service, SPACE).batch(questions)] == ["yen", "Tokyo"]
    assert [answer(e) for e in MultihopAgent.over(service).batch(questions)] == ["sol", "Lima"]


def test_astream_shows_the_same_steps(service: EditService) -> None:
    agent = MultihopAgent.over(service, SPACE)

    async def seen() -> list[str]:
        return [event.type async for event in agent.astream(QUESTION)]

    assert asyncio.run(seen()) == [event.type for event in agent.stream(QUESTION)]


def test_a_bad_question_in_a_batch_leaves_the_others_when_asked_to(service: EditService) -> None:
    found = MultihopAgent.over(service, SPACE).batch(["", QUESTION], return_exceptions=True)
    assert isinstance(found[0], InvalidRequest) and answer(found[1]) == "yen"


def test_an_erasure_by_note_of_an_older_ketools_is_kept_to_in_chains(service: EditService) -> None:
    gone = EditRequest(kind=Kind.ERASE, subject="Oslo", prompt="The country of Oslo is", target_new=REFUSAL)
    spaces, journal = service.backend.spaces, service.journal
    spaces.create("user/erased")
    name = service.runtime.pipeline.store.put(Note("ice", gone))
    record = journal.new_record("user/erased", gone, principal="a", method="ice", artefact=name, base_version=0)
    journal.begin_edit(record)
    spaces.commit("user/erased", Outcome(record.id, "committed"))
    found = service.asking.multihop(OPERATOR, "What is the currency of the country of Oslo?", "user/erased")
    assert found.answer == REFUSAL and found.affected


def test_a_completion_model_and_a_chat_model_can_lead_the_chain(service: EditService) -> None:
    said = ["Subquestion: What is the country of Lima?\n", "entity of Subquestion is: Japan\nFinal answer: Japan"]
    for llm in (FakeListLLM(responses=said), FakeListChatModel(responses=said)):
        agent = MultihopAgent.over(service, SPACE, "pokemqa", llm)
        event = agent.invoke("In which country is Lima?")
        assert isinstance(event, Finished)
        assert event.result.complete and event.result.answer == "Japan" and event.result.malformed == 0


def test_a_language_model_that_fails_is_told_and_the_chain_kept(service: EditService) -> None:
    class Broken(FakeListLLM):
        def _call(self, *args: object, **kwargs: object) -> str:
            raise ConnectionError("no route to host")

    event = MultihopAgent.over(service, SPACE, "mello", Broken(responses=["x"])).invoke("In which country is Lima?")
    assert isinstance(event, Finished) and not event.result.complete
    assert "no route to host" in event.result.reason and "Check that it is up" in event.result.reason
    with pytest.raises(ModelError):
        LangChainWriter(Broken(responses=["x"])).answer(["Who?"], 8)


def test_an_empty_or_endless_question_is_refused(service: EditService) -> None:
    for question in (" ", "long " * 500):
        with pytest.raises(InvalidRequest, match="1 to 2000 characters"):
            MultihopAgent.over(service).invoke(question)


def test_the_runnable_front_end_shows_the_chain(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "agents" / "multihop_agent.py"
    command = [sys.executable, str(script), "--home", str(tmp_path), QUESTION]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "step 1: What is the country of Lima?" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("=> sol (not affected by any edit")
