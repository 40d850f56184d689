"""What needs a person, over MCP: asked of the client's user where that can be, else kept waiting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult, Implementation

from ketools.core.principals import OPERATOR, Scope
from ketools.servers.mcp import build_server
from ketools.service.service import EditService

pytestmark = pytest.mark.anyio

Arguments = Callable[..., dict[str, Any]]
Text = Callable[[CallToolResult], str]
QUESTION = {"question": "What is the capital of France?", "space": "global"}
WHO = Implementation(name="tester", version="2")


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Literal["auto", "legacy"]:
    """The protocol of 2026 and the one before."""
    chosen: Literal["auto", "legacy"] = request.param
    return chosen


@pytest.fixture(autouse=True)
def clean(service: EditService) -> Iterator[None]:
    """Nothing stays edited or waiting behind a test."""
    yield
    service.spaces.restore(OPERATOR, "global", 0)
    for one in service.approvals.waiting(OPERATOR).proposals:
        service.approvals.decide(OPERATOR, one.proposal_id, False)


def answering(action: Literal["accept", "decline"], asked: list[str], approve: bool = True) -> Any:
    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content={"approve": approve} if action == "accept" else None)

    return answer


async def test_an_edit_of_everyones_space_is_asked_of_the_user(
    service: EditService, era: Literal["auto", "legacy"], lyon: Arguments, text: Text
) -> None:
    asked: list[str] = []
    server = build_server(service, toolsets=["all"])
    async with Client(server, mode=era, client_info=WHO, elicitation_callback=answering("accept", asked)) as client:
        done = await client.call_tool("edit_fact", lyon("global", reason="she said so"))
        assert done.structured_content is not None and done.structured_content["status"] == "committed"
        assert text(await client.call_tool("ask", QUESTION)) == "Lyon"
        shown = await client.call_tool("show_edit", {"edit_id": done.structured_content["edit_id"]})
    assert len(asked) == 1 and "The capital of France is Lyon" in asked[0]
    assert shown.structured_content is not None
    told = shown.structured_content
    assert (told["client"], told["why"]) == ("tester 2, approved by its user", "she said so")


@pytest.mark.parametrize(("action", "approve"), [("decline", True), ("accept", False)])
async def test_an_edit_that_the_user_does_not_approve_changes_nothing(
    service: EditService, era: Literal["auto", "legacy"], action: Any, approve: bool, lyon: Arguments, text: Text
) -> None:
    asked: list[str] = []
    async with Client(
        build_server(service), mode=era, elicitation_callback=answering(action, asked, approve)
    ) as client:
        refused = await client.call_tool("edit_fact", lyon("global"))
        assert refused.is_error and "Nothing was changed" in text(refused) and asked
        assert text(await client.call_tool("ask", QUESTION)) == "Paris"
    assert service.approvals.waiting(OPERATOR).proposals == ()


async def test_what_needs_no_person_is_done_once_and_not_asked(
    service: EditService, era: Literal["auto", "legacy"], lyon: Arguments
) -> None:
    asked: list[str] = []
    async with Client(build_server(service), mode=era, elicitation_callback=answering("decline", asked)) as client:
        await client.call_tool("edit_fact", lyon(f"user/free-{era}"))
    assert not asked and service.journal.head(f"user/free-{era}").version == 1


async def test_with_a_client_that_cannot_ask_it_waits(
    service: EditService, era: Literal["auto", "legacy"], lyon: Arguments, text: Text
) -> None:
    async with Client(build_server(service, toolsets=["all"]), mode=era) as client:
        held = await client.call_tool("edit_fact", lyon("global"))
        assert held.is_error and "ketools approve p_" in text(held)
        (one,) = service.approvals.waiting(OPERATOR).proposals
        refused = await client.call_tool("decide_proposal", {"proposal_id": one.proposal_id, "approve": True})
        assert refused.is_error and "An agent cannot decide" in text(refused)
        listed = {tool.name for tool in (await client.list_tools()).tools}
        assert "list_proposals" in listed and "decide_proposal" not in listed


async def test_somebody_else_approves_by_tool(service: EditService, lyon: Arguments, text: Text) -> None:
    async with Client(build_server(service)) as client:
        await client.call_tool("edit_fact", lyon("global"))
    (one,) = service.approvals.waiting(OPERATOR).proposals
    chief = dataclasses.replace(OPERATOR, name="chief", scopes=frozenset({Scope.READ, Scope.EDIT, Scope.APPROVE}))
    async with Client(build_server(service, caller=chief)) as client:
        done = await client.call_tool("decide_proposal", {"proposal_id": one.proposal_id, "approve": True})
        assert done.structured_content is not None and done.structured_content["state"] == "approved"
        assert text(await client.call_tool("ask", QUESTION)) == "Lyon"


async def test_an_erasure_for_everyone_needs_a_person_even_with_a_confirm_token(
    service: EditService, text: Text
) -> None:
    erase = {"subject": "Spain", "prompt": "The capital of Spain is", "space": "global", "method": "kn"}
    async with Client(build_server(service)) as client:
        tried = await client.call_tool("erase_fact", {**erase, "dry_run": True})
        token = text(tried).split("confirm_token='")[1].split("'")[0]
        held = await client.call_tool("erase_fact", {**erase, "confirm_token": token})
    assert held.is_error and "ketools erase" in text(held)
