"""Nobody writes to everyone's space without saying so: what a call means that names no space."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mcp import Client
from mcp.types import CallToolResult

from ketools.agents.multihop import MultihopAgent
from ketools.core.errors import Forbidden
from ketools.core.principals import OPERATOR, Principal, principal
from ketools.servers.callers import reader
from ketools.servers.langchain import KEChatModel, KEToolkit
from ketools.servers.mcp import build_server
from ketools.service.service import EditService

FACT = {"subject": "Peru", "prompt": "The capital of Peru is", "target_new": "Oslo", "method": "ice"}
QUESTION = {"question": "What is the capital of Peru?"}
ALL = ("read", "edit", "erase")


@pytest.mark.parametrize(
    ("who", "home"),
    [
        (OPERATOR, "user/local"),
        (reader(OPERATOR), "user/local"),
        (principal("alice", ALL, ["user/alice", "session/alice/*"]), "user/alice"),
        (principal("alice", ALL, ["session/alice/*", "user/alice"]), "user/alice"),
        (principal("alice", ALL, ["global", "team/red", "user/alice"]), "team/red"),
        (principal("alice", ALL, ["user/*"]), "user/alice"),
        (principal("root", ["admin"], []), "user/root"),
        (principal("root", ["admin"], ["**"]), "user/root"),
    ],
)
def test_a_callers_own_space_is_its_first_or_the_user_of_its_name(who: Principal, home: str) -> None:
    assert who.home == home


@pytest.mark.parametrize(
    "who",
    [
        principal("eve", ["read"], []),
        principal("eve", ALL, ["global"]),
        principal("eve", ALL, ["session/eve/*"]),
        principal("Eve@home", ["admin"], []),
    ],
)
def test_who_has_no_space_of_its_own_must_say_one(who: Principal) -> None:
    with pytest.raises(Forbidden, match=r"name the space, one of .*global"):
        _ = who.home


@pytest.mark.anyio
@pytest.mark.parametrize("named", [{}, {"space": None}, {"space": ""}])
async def test_without_a_space_an_edit_is_the_callers_alone_and_every_result_tells_where(
    service: EditService, text: Callable[[CallToolResult], str], named: dict[str, Any]
) -> None:
    alice = principal("alice", ALL, [f"user/alice-{len(str(named))}"])
    async with Client(build_server(service, caller=alice)) as client:
        empty = await client.call_tool("list_edits", named)
        assert "No edits in" in text(empty)
        edit = await client.call_tool("edit_fact", {**FACT, **named})
        found: Any = edit.structured_content
        assert found["space"] == alice.home and found["gateway_model"] == f"{service.model_name}@{alice.home}"
        assert f"{alice.home} (gateway model {found['gateway_model']})" in text(edit)
        answer = await client.call_tool("ask", {**QUESTION, **named})
        assert text(answer) == f"Oslo\n(in {alice.home} (gateway model {found['gateway_model']}))"
        assert text(await client.call_tool("ask", {**QUESTION, "space": "global"})) == "Lima"
        for name in ("list_edits", "ask", "undo_edit"):
            arguments = {"ask": QUESTION, "undo_edit": {"edit_id": found["edit_id"]}}.get(name, {})
            result: Any = (await client.call_tool(name, {**arguments})).structured_content
            assert result["gateway_model"] == found["gateway_model"]


@pytest.mark.anyio
async def test_a_prompt_means_the_callers_own_space_unless_one_is_said(service: EditService) -> None:
    async with Client(build_server(service, caller=principal("alice", ALL, ["user/alice"]))) as client:
        for name in ("handle_correction", "handle_forgetting"):
            own: Any = (await client.get_prompt(name, {"message": "No, Oslo."})).messages[0].content
            said: Any = (await client.get_prompt(name, {"message": "No.", "space": "global"})).messages[0].content
            assert "the space user/alice" in own.text and "the space global" in said.text


def test_langchain_means_the_callers_own_space_too(service: EditService) -> None:
    bob = principal("bob", ALL, ["user/bob"])
    tools = {tool.name: tool for tool in KEToolkit(service, bob).get_tools()}
    made = tools["edit_fact"].invoke({"type": "tool_call", "id": "1", "name": "edit_fact", "args": {**FACT}})
    assert made.artifact.space == "user/bob" and "user/bob" in str(made.content)
    question = QUESTION["question"]
    assert KEChatModel(service=service, principal=bob).invoke(question).content == "Oslo"
    assert KEChatModel(service=service, principal=bob, space="global").invoke(question).content == "Lima"
    assert asyncio.run(tools["ask"].ainvoke(QUESTION)).startswith("Oslo")
    assert MultihopAgent.over(service, principal=bob).memory.facts
    assert service.journal.head("global").live == ()
