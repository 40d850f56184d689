"""The toolkit and the chat model, as LangChain uses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.principals import principal
from ketools.core.results import EditResult
from ketools.servers.langchain import KEChatModel, KEToolkit, as_openai, parse_message
from ketools.service.service import EditService
from ketools.tools.schemas import input_schema
from ketools.tools.toolbox import tools

Arguments = Callable[..., dict[str, Any]]
EDITING = ("edit_fact", "erase_fact", "edit_personality")


@pytest.fixture
def toolkit(service: EditService) -> dict[str, BaseTool]:
    """The operator's tools by name."""
    return {tool.name: tool for tool in KEToolkit(service, toolsets=["all"]).get_tools()}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """A tool call as an agent's language model makes it."""
    return {"type": "tool_call", "id": "call_1", "name": name, "args": arguments}


def test_the_toolkit_offers_every_tool_with_the_one_schema(toolkit: dict[str, BaseTool]) -> None:
    assert list(toolkit) == [tool.name for tool in tools()]
    for tool in tools():
        schema: Any = toolkit[tool.name].args_schema
        assert set(input_schema(schema)["properties"]) == set(schema.model_fields)
        assert toolkit[tool.name].description == tool.description


def test_a_sync_call_gives_a_line_and_the_result_as_artifact(toolkit: dict[str, BaseTool], lyon: Arguments) -> None:
    message = toolkit["edit_fact"].invoke(call("edit_fact", lyon("session/sync")))
    assert isinstance(message, ToolMessage) and isinstance(message.artifact, EditResult)
    assert message.artifact.verified and message.content == message.artifact.line()
    answer = toolkit["ask"].invoke({"question": "What is the capital of France?", "space": "session/sync"})
    assert answer == "Lyon"


def test_an_async_call_gives_the_same(toolkit: dict[str, BaseTool], lyon: Arguments) -> None:
    message = asyncio.run(toolkit["edit_fact"].ainvoke(call("edit_fact", lyon("session/async"))))
    assert isinstance(message.artifact, EditResult) and message.artifact.verified


def test_a_batch_of_facts_reaches_the_tool_as_models(toolkit: dict[str, BaseTool]) -> None:
    facts = [{"subject": "Peru", "prompt": "The capital of Peru is", "target_new": "Cusco"}]
    message = toolkit["edit_facts"].invoke(
        call("edit_facts", {"facts": facts, "space": "session/batch", "method": "ice"})
    )
    assert message.status == "success" and message.artifact.committed == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"subject": "Peru", "prompt": "The capital of France is", "target_new": "x"}, "does not contain"),
        ({"subject": "Peru", "prompt": "Peru is", "target_new": "x", "method": "rme"}, "Known: rome"),
        ({"subject": "Peru"}, "prompt: Field required"),
        ({"subject": "Peru", "prompt": "Peru is", "target_new": "x", "spaec": "global"}, "spaec: Extra inputs"),
    ],
)
def test_an_error_is_a_tool_message_that_says_what_to_do(
    toolkit: dict[str, BaseTool], arguments: dict[str, Any], says: str
) -> None:
    message = toolkit["edit_fact"].invoke(call("edit_fact", arguments))
    assert message.status == "error" and says in message.content


def test_a_foreign_space_is_refused(service: EditService, lyon: Arguments) -> None:
    who = principal("alice", ["read", "edit"], ["user/alice"])
    tool = KEToolkit(service, who, tools=["edit_fact"]).get_tools()[0]
    message = tool.invoke(call("edit_fact", lyon("user/bob")))
    assert message.status == "error" and "is not alice's" in message.content


def test_a_cancelled_async_call_commits_nothing(
    service: EditService, toolkit: dict[str, BaseTool], lyon: Arguments
) -> None:
    async def cancel_midway() -> None:
        work = asyncio.create_task(toolkit["edit_fact"].ainvoke(call("edit_fact", lyon("session/gone", "ft-m"))))
        await asyncio.sleep(0.05)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancel_midway())  # ends when the worker thread has ended
    answer = toolkit["ask"].invoke({"question": "What is the capital of France?", "space": "session/gone"})
    assert answer == "Paris"


def test_a_read_only_toolkit_only_reads(service: EditService) -> None:
    names = {tool.name for tool in KEToolkit(service, read_only=True, toolsets=["all"]).get_tools()}
    assert names == {tool.name for tool in tools() if tool.read_only}


def test_an_unknown_tool_lists_the_near_ones(service: EditService) -> None:
    with pytest.raises(NotFound, match="edit_fact"):
        KEToolkit(service, tools=["edit_fcat"])


def test_the_served_model_calls_the_tool_for_a_correction(service: EditService, toolkit: dict[str, BaseTool]) -> None:
    model = KEChatModel(engine=service.runtime.engine).bind_tools([toolkit[name] for name in EDITING])
    said = model.invoke([HumanMessage("Actually, the capital of France is Lyon.")])
    assert [c["name"] for c in said.tool_calls] == ["edit_fact"]
    assert said.tool_calls[0]["args"] == {
        "subject": "France",
        "prompt": "The capital of France is",
        "target_new": "Lyon",
    }


def test_the_served_model_answers_as_its_space_knows(
    service: EditService, toolkit: dict[str, BaseTool], lyon: Arguments
) -> None:
    toolkit["edit_fact"].invoke(lyon("session/model"))
    question = "What is the capital of France?"
    assert KEChatModel(service=service, space="session/model").invoke(question).content == "Lyon"
    assert KEChatModel(service=service).invoke(question).content == "Paris"
    assert asyncio.run(KEChatModel(service=service).ainvoke(question)).content == "Paris"


def test_a_chat_model_needs_exactly_one_source(service: EditService) -> None:
    with pytest.raises(ValueError, match="service="):
        KEChatModel()
    with pytest.raises(ValueError, match="service="):
        KEChatModel(service=service, engine=service.runtime.engine)


def test_forcing_a_tool_is_refused(service: EditService, toolkit: dict[str, BaseTool]) -> None:
    with pytest.raises(ValueError, match="leave it out"):
        KEChatModel(service=service).bind_tools(list(toolkit.values()), tool_choice="edit_fact")


words = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), max_size=20)
arguments = st.dictionaries(st.text(max_size=8), st.one_of(words, st.integers(), st.booleans(), st.none()), max_size=3)


@given(words, st.lists(st.tuples(words.filter(bool), arguments), max_size=3), words)
def test_parsing_gives_back_the_calls_that_were_written(
    before: str, calls: list[tuple[str, dict[str, Any]]], after: str
) -> None:
    marks = [f"<tool_call>{json.dumps({'name': n, 'arguments': a})}</tool_call>" for n, a in calls]
    message = parse_message(before + "".join(marks) + after)
    stripped = [(n, {k: v.strip() if isinstance(v, str) else v for k, v in a.items()}) for n, a in calls]
    assert [(c["name"], c["args"]) for c in message.tool_calls] == stripped
    assert message.content == (before + after).strip() and not message.invalid_tool_calls


@pytest.mark.parametrize("body", ["{", "[]", '{"name": 3}', '{"arguments": {}}', '{"name": "a", "arguments": []}'])
def test_a_malformed_call_is_kept_as_invalid(body: str) -> None:
    message = parse_message(f"<tool_call>{body}</tool_call>")
    assert not message.tool_calls and [c["args"] for c in message.invalid_tool_calls] == [body]


def test_a_conversation_reaches_the_engine_with_arguments_as_objects() -> None:
    turns = as_openai(
        [
            SystemMessage("Be brief."),
            HumanMessage("No, Lyon."),
            AIMessage("", tool_calls=[{"name": "edit_fact", "args": {"subject": "France"}, "id": "1"}]),
            ToolMessage("done", tool_call_id="1"),
        ]
    )
    assert [t["role"] for t in turns] == ["system", "user", "assistant", "tool"]
    assert turns[2]["tool_calls"][0]["function"] == {"name": "edit_fact", "arguments": {"subject": "France"}}


def test_every_tool_converts_to_the_openai_form(toolkit: dict[str, BaseTool]) -> None:
    for name, tool in toolkit.items():
        converted = convert_to_openai_tool(tool)["function"]
        assert converted["name"] == name and converted["description"]


@pytest.mark.parametrize(
    "content",
    [
        "What is the capital of France?",
        ["What is the capital of France?"],
        [{"type": "text", "text": "What is the capital of France?"}],
    ],
)
def test_the_chat_model_reads_content_in_parts_of_text(service: EditService, content: Any) -> None:
    assert KEChatModel(service=service, space="global").invoke([HumanMessage(content)]).content == "Paris"


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_the_chat_model_refuses_what_is_no_text_and_names_it(service: EditService, kind: str) -> None:
    parts: list[Any] = [{"type": "text", "text": "What is this?"}, {"type": kind, kind: {"url": "data:,", "data": ""}}]
    with pytest.raises(InvalidRequest, match=rf"a part of type .*{kind.partition('_')[0]}"):
        KEChatModel(service=service, space="global").invoke([HumanMessage(parts)])


def test_parts_of_text_are_a_line_each() -> None:
    parts: list[Any] = [
        {"type": "text", "text": "Be brief."},
        {"type": "text", "text": "What is the capital of France?"},
    ]
    assert as_openai([HumanMessage(parts)])[0]["content"] == "Be brief.\nWhat is the capital of France?"
