"""The MCP server through a real client in memory, in both protocol eras."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

import pytest
from mcp import Client, MCPError
from mcp.client import ClientRequestContext
from mcp.client.subscriptions import ResourceUpdated
from mcp.types import INVALID_PARAMS, CallToolResult, ElicitRequestParams, ElicitResult, Implementation

from ketools.atlas.world import world
from ketools.core.errors import NotFound
from ketools.core.principals import OPERATOR, Scope
from ketools.core.results import EditResult
from ketools.servers.announcing import open_objects
from ketools.servers.guide import LONGEST
from ketools.servers.mcp import build_server
from ketools.service.service import EditService
from ketools.tools.schemas import tool_schema
from ketools.tools.toolbox import tools
from ketools.tools.toolsets import ToolSet

pytestmark = pytest.mark.anyio

Arguments = Callable[..., dict[str, Any]]
Text = Callable[[CallToolResult], str]
QUESTION = "What is the capital of France?"
PRIVATE = next(fact for fact in world().all_facts() if fact.relation == "telephone")
ERASE = {
    "subject": PRIVATE.subject,
    "prompt": f"The telephone number of {PRIVATE.subject} is",
    "rephrases": [f"What is the telephone number of {PRIVATE.subject}?"],
    "method": "kn",
}
"""By the method that computes soonest; whether its erasure is good enough is not what these tests ask."""
TRIED = ("committed", "refused")


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Literal["auto", "legacy"]:
    """The protocol of 2026 and the one before."""
    chosen: Literal["auto", "legacy"] = request.param
    return chosen


@pytest.fixture
async def client(service: EditService, era: Literal["auto", "legacy"]) -> AsyncIterator[Client]:
    """A client that cannot be asked anything."""
    async with Client(build_server(service), mode=era) as connected:
        yield connected


def answering(action: Literal["accept", "decline"], asked: list[str]) -> Any:
    """An elicitation callback of a user who always answers the same."""

    async def answer(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content={"erase": True} if action == "accept" else None)

    return answer


@pytest.mark.parametrize(("name", "closed"), [("claude-ai", True), ("mcp", False), ("gemini-cli", False)])
async def test_every_tool_is_announced_as_its_committed_schema_says(
    service: EditService, era: Literal["auto", "legacy"], name: str, closed: bool
) -> None:
    who = Implementation(name=name, version="1")
    every = dataclasses.replace(OPERATOR, scopes=frozenset(Scope))
    async with Client(build_server(service, toolsets=["all"], caller=every), mode=era, client_info=who) as client:
        announced = {t.name: t for t in (await client.list_tools()).tools}
    assert list(announced) == [t.name for t in tools()]
    for tool in tools():
        wire = announced[tool.name].model_dump(mode="json", by_alias=True, exclude_none=True)
        wire["inputSchema"]["properties"].pop("confirm_token", None)
        schema = tool_schema(tool)
        assert wire == (schema if closed else {**schema, "inputSchema": open_objects(schema["inputSchema"])})


async def test_only_the_default_tool_set_is_listed_and_the_others_can_be_called(
    service: EditService, client: Client, text: Text
) -> None:
    listed = {t.name for t in (await client.list_tools()).tools}
    assert listed == {t.name for t in tools() if t.toolset is ToolSet.CORE}
    assert "auto" in text(await client.call_tool("list_methods", {}))
    async with Client(build_server(service, toolsets=["core", "lab"])) as other:
        more = {t.name for t in (await other.list_tools()).tools}
    assert more == listed | {t.name for t in tools() if t.toolset is ToolSet.LAB}


def test_an_unknown_tool_set_lists_the_known_ones(service: EditService) -> None:
    with pytest.raises(NotFound, match="no tool set named 'labs'"):
        build_server(service, toolsets=["core", "labs"])


async def test_an_edit_is_known_in_its_space_only_and_undo_restores_every_bit(
    client: Client, lyon: Arguments, text: Text, era: str
) -> None:
    space = f"session/mcp-{era}"
    before = (
        await client.call_tool("ask", {"question": QUESTION, "space": space, "fingerprint": True})
    ).structured_content
    edit = await client.call_tool("edit_fact", lyon(space))
    result = EditResult.model_validate(edit.structured_content)
    assert result.verified and result.after == "Lyon." and text(edit) == result.line()
    assert text(await client.call_tool("ask", {"question": QUESTION, "space": space})) == "Lyon"
    assert text(await client.call_tool("ask", {"question": QUESTION, "space": "session/other"})) == "Paris"
    assert not (await client.call_tool("undo_edit", {"edit_id": result.edit_id})).is_error
    after = (
        await client.call_tool("ask", {"question": QUESTION, "space": space, "fingerprint": True})
    ).structured_content
    assert before is not None and after is not None
    assert after["fingerprint"] == before["fingerprint"] and after["answer"] == "Paris"


async def test_a_parametric_edit_reports_progress(client: Client, lyon: Arguments, era: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    arguments = lyon(f"session/progress-{era}", "ft-m", dry_run=True)
    await client.call_tool("edit_fact", arguments, progress_callback=note)
    assert seen and all(total and done <= total for done, total in seen)


async def test_cancelling_in_the_middle_of_an_edit_commits_nothing(
    service: EditService, lyon: Arguments, era: Literal["auto", "legacy"]
) -> None:
    space, started = f"session/cancel-{era}", asyncio.Event()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        started.set()

    async with Client(build_server(service), mode=era) as client:
        call = asyncio.create_task(client.call_tool("edit_fact", lyon(space, "ft-m"), progress_callback=note))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    async with Client(build_server(service), mode=era) as client:  # the server has ended: so has the edit
        page = await client.call_tool("list_edits", {"space": space, "live_only": False})
        assert page.structured_content is not None
        assert not any(edit["live"] for edit in page.structured_content["edits"])
        answer = await client.call_tool("ask", {"question": QUESTION, "space": space})
        assert answer.structured_content is not None and answer.structured_content["answer"] == "Paris"


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("edit_fact", {"subject": "Peru", "prompt": "The capital of France is", "target_new": "x"}, "does not contain"),
        ("edit_fact", {"subject": "Peru"}, "prompt: Field required"),
        (
            "edit_fact",
            {"subject": "x" * 201, "prompt": "x", "target_new": "y"},
            "subject: String should have at most 200",
        ),
        ("edit_fact", {"subject": "a\x07", "prompt": "a\x07 is", "target_new": "y"}, "subject: control characters"),
        ("ask", {"question": "Hi", "tone": "kind"}, "tone: Extra inputs"),
        ("ask", {"question": ""}, "question: String should have at least 1"),
        ("ask", {"question": "Hi", "space": "globl"}, "'globl'. Known: global"),
        ("undo_edit", {"edit_id": "e_nope"}, "e_nope"),
        ("job_status", {"job_id": "j_nope"}, "j_nope"),
        ("edit_personality", {"topic": "tea", "trait": "grumpy"}, "trait: Input should be"),
    ],
)
async def test_bad_input_is_a_tool_error_that_names_what_is_wrong(
    client: Client, text: Text, tool: str, arguments: dict[str, Any], says: str
) -> None:
    result = await client.call_tool(tool, arguments)
    assert result.is_error and says in text(result)


async def test_an_unknown_method_lists_the_near_ones(client: Client, lyon: Arguments, text: Text) -> None:
    result = await client.call_tool("edit_fact", lyon("session/x", "rme"))
    assert result.is_error and "Known: rome" in text(result)


async def test_an_unexpected_error_is_masked_and_logged(
    service: EditService, text: Text, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EditService(dataclasses.replace(service.backend, journal=None))  # type: ignore[arg-type]
    async with Client(build_server(broken)) as client:
        with caplog.at_level(logging.ERROR):
            result = await client.call_tool("list_spaces", {})
    assert result.is_error and text(result) == "Error executing tool list_spaces"
    assert "AttributeError" in caplog.text


async def test_erasing_asks_and_erases_when_the_user_accepts(
    service: EditService, era: Literal["auto", "legacy"]
) -> None:
    asked: list[str] = []
    server = build_server(service)
    async with Client(server, mode=era, elicitation_callback=answering("accept", asked)) as client:
        result = await client.call_tool("erase_fact", {**ERASE, "space": f"session/accept-{era}"})
    assert not result.is_error and result.structured_content is not None
    assert result.structured_content["status"] in TRIED
    assert len(asked) == 1 and PRIVATE.subject in asked[0]


async def test_erasing_stops_when_the_user_declines(
    service: EditService, era: Literal["auto", "legacy"], text: Text
) -> None:
    asked: list[str] = []
    server = build_server(service)
    async with Client(server, mode=era, elicitation_callback=answering("decline", asked)) as client:
        result = await client.call_tool("erase_fact", {**ERASE, "space": "session/decline"})
        assert result.is_error and "Nothing was erased" in text(result) and asked
        question = {"question": f"What is the telephone number of {PRIVATE.subject}?", "space": "global"}
        assert PRIVATE.target in text(await client.call_tool("ask", question))


async def test_a_client_that_cannot_ask_erases_with_the_token_of_a_dry_run(
    client: Client, era: str, text: Text
) -> None:
    arguments = {**ERASE, "space": f"session/token-{era}"}
    refused = await client.call_tool("erase_fact", arguments)
    assert refused.is_error and "dry_run=true" in text(refused)
    tried = await client.call_tool("erase_fact", {**arguments, "dry_run": True})
    token = text(tried).split("confirm_token='")[1].split("'")[0]
    other = await client.call_tool("erase_fact", {**arguments, "space": "global", "confirm_token": token})
    assert other.is_error and "other arguments" in text(other)
    done = await client.call_tool("erase_fact", {**arguments, "confirm_token": token})
    assert done.structured_content is not None and done.structured_content["status"] in TRIED


async def test_allow_erase_erases_without_asking(service: EditService) -> None:
    async with Client(build_server(service, allow_erase=True)) as client:
        result = await client.call_tool("erase_fact", {**ERASE, "space": "session/allowed"})
    assert not result.is_error


async def test_a_read_only_server_has_no_tool_that_writes(service: EditService, text: Text) -> None:
    async with Client(build_server(service, read_only=True, toolsets=["all"])) as client:
        announced = {t.name for t in (await client.list_tools()).tools}
        assert announced == {t.name for t in tools() if t.read_only}
        assert (await client.call_tool("edit_fact", {})).is_error
        assert text(await client.call_tool("ask", {"question": QUESTION, "space": "global"})) == "Paris"


async def test_tools_can_be_chosen_and_left_out(service: EditService) -> None:
    server = build_server(service, names=["ask", "edit_fact", "erase_fact"], exclude=["erase_fact"])
    async with Client(server) as client:
        assert {t.name for t in (await client.list_tools()).tools} == {"ask", "edit_fact"}


def test_choosing_an_unknown_tool_lists_the_near_ones(service: EditService) -> None:
    with pytest.raises(NotFound, match="edit_fact"):
        build_server(service, names=["edit_fcat"])


async def test_the_resource_of_a_space_lists_its_live_edits(client: Client, lyon: Arguments, era: str) -> None:
    space = f"user/reader-{era}"
    edit = await client.call_tool("edit_fact", lyon(space))
    assert edit.structured_content is not None
    for uri in (f"edits://{space}", f"edits://{space.replace('/', '%2F')}"):
        read: Any = (await client.read_resource(uri)).contents[0]
        assert [e["edit_id"] for e in json.loads(read.text)["edits"]] == [edit.structured_content["edit_id"]]
    one: Any = (await client.read_resource(f"edit://{edit.structured_content['edit_id']}")).contents[0]
    assert json.loads(one.text)["fact"] == "The capital of France is Lyon"


async def test_a_resource_of_an_unknown_space_is_not_found(client: Client) -> None:
    with pytest.raises(MCPError, match="no space named"):
        await client.read_resource("edits://globl")


@pytest.mark.parametrize("uri", ["edits://user/heard", "edits://user%2Fheard"])
async def test_a_listener_hears_that_a_space_has_changed(service: EditService, lyon: Arguments, uri: str) -> None:
    async with (
        Client(build_server(service)) as client,
        client.listen(resource_subscriptions=[uri]) as changes,
        asyncio.timeout(60),
    ):
        await client.call_tool("edit_fact", lyon("user/heard", target_new="Lima" if "%" in uri else "Lyon"))
        event = await anext(aiter(changes))
    assert event == ResourceUpdated(uri=uri)


async def test_prompts_teach_what_to_call(client: Client) -> None:
    listed = {p.name for p in (await client.list_prompts()).prompts}
    assert listed == {"handle_correction", "handle_forgetting", "review_space"}
    prompt: Any = await client.get_prompt("handle_correction", {"message": "No, Lyon.", "space": "user/a"})
    content = prompt.messages[0].content.text
    assert "edit_fact" in content and "user/a" in content and "No, Lyon." in content


@pytest.mark.parametrize("choice", [{}, {"toolsets": ["all"]}, {"read_only": True}, {"names": ["ask"]}])
async def test_the_instructions_are_short_and_name_only_listed_tools(
    service: EditService, choice: dict[str, Any]
) -> None:
    async with Client(build_server(service, **choice)) as client:
        told = client.instructions or ""
        listed = {t.name for t in (await client.list_tools()).tools}
    assert 0 < len(told) <= LONGEST
    named = {word.strip(".,;:()`") for word in told.split() if "_" in word and "=" not in word}
    assert named - {"target_new", "confirm_token"} <= listed
    assert "lab (" in told and "--toolsets" in told


async def test_a_read_only_server_has_no_prompt_that_edits(service: EditService) -> None:
    async with Client(build_server(service, read_only=True)) as client:
        assert [p.name for p in (await client.list_prompts()).prompts] == ["review_space"]
        content: Any = (await client.get_prompt("review_space", {})).messages[0].content
        assert "undo_edit" not in content.text and "user/local" in content.text
        assert "edit_fact" not in (client.instructions or "")


@pytest.mark.parametrize("uri", ["edits://user%2F..%2F", "edits://User%2FAlice"])
async def test_a_resource_that_cannot_be_named_is_the_callers_error(client: Client, uri: str) -> None:
    with pytest.raises(MCPError) as told:
        await client.read_resource(uri)
    assert told.value.error.code == INVALID_PARAMS


async def test_a_prompt_that_there_is_not_is_the_callers_error(client: Client) -> None:
    with pytest.raises(MCPError) as told:
        await client.get_prompt("nope", {})
    assert told.value.error.code == INVALID_PARAMS


@pytest.mark.parametrize("version", [2**31, 2**63, 2**64, 10**40])
async def test_a_version_that_no_database_can_hold_is_one_that_there_is_not(
    client: Client, version: int, text: Callable[[CallToolResult], str]
) -> None:
    told = await client.call_tool("restore_space", {"space": "global", "version": version})
    assert told.is_error and "There is no version of 'global'" in text(told)
