"""The agent that hears a correction: its language model is the bundled one, its tools are real."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ketools.agents.editing import EditingAgent
from ketools.agents.llm import load_llm
from ketools.core.errors import InvalidRequest
from ketools.servers.langchain import KEChatModel, KEToolkit
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "session/alice/1"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), consolidate=False)
    with closing(open_service(settings)) as opened:
        yield opened


@pytest.fixture
def agent(service: EditService) -> EditingAgent:
    return EditingAgent(KEChatModel(service=service, space=SPACE), KEToolkit(service).get_tools(), SPACE)


def test_an_ordinary_question_is_answered_without_a_tool(agent: EditingAgent) -> None:
    turn = asyncio.run(agent.say("What is the capital of Japan?"))
    assert (turn.answer, turn.calls) == ("Tokyo", ())


def test_a_correction_becomes_a_verified_edit_in_the_agents_space(agent: EditingAgent, service: EditService) -> None:
    asyncio.run(agent.say("What is the capital of France?"))
    turn = asyncio.run(agent.say("Actually, the capital of France is Lima."))
    (call,) = turn.calls
    assert call["name"] == "edit_fact"
    assert call["args"] == {"subject": "France", "prompt": "The capital of France is", "target_new": "Lima"}
    assert turn.results[0].artifact.verified and turn.results[0].artifact.space == SPACE
    assert asyncio.run(agent.say("What is the capital of France?")).answer == "Lima"
    assert service.journal.head("global").live == ()


def test_a_wish_for_another_manner_becomes_a_personality_edit(agent: EditingAgent) -> None:
    turn = asyncio.run(agent.say("Please be more extraverted when you talk about coffee."))
    assert [c["name"] for c in turn.calls] == ["edit_personality"]


def test_an_unknown_tool_name_is_answered_with_the_known_ones(agent: EditingAgent) -> None:
    message = asyncio.run(agent._run({}, {"name": "edit_fat", "args": {}, "id": "1", "type": "tool_call"}))
    assert message.status == "error" and "edit_fat" in str(message.content)


def test_a_language_model_is_chosen_by_setting(service: EditService) -> None:
    with pytest.raises(InvalidRequest, match="module:attribute"):
        load_llm("gpt")
    with pytest.raises(InvalidRequest, match="Cannot import"):
        load_llm("no_such_module:llm")


def test_the_runnable_agent_talks_over_standard_input(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = Path(__file__).parents[2] / "agents" / "editing_agent.py"
    said = "What is the capital of Peru?\nNo, the capital of Peru is Oslo.\nWhat is the capital of Peru?\n\n"
    done = subprocess.run(
        [sys.executable, str(script), "--home", str(tmp_path)], input=said, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "edit_fact" in done.stdout
    assert done.stdout.strip().endswith("model> Oslo")
