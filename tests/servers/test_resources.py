"""Resources are listed, paged and completed for each caller, and tell nobody of what is another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
from mcp import Client, MCPError
from mcp.types import PromptReference, ResourceTemplateReference
from starlette.testclient import TestClient

from ketools.core.principals import OPERATOR, principal
from ketools.core.requests import build_request
from ketools.servers.http import http_app
from ketools.servers.mcp import build_server
from ketools.servers.resources import COMPLETIONS, PAGE
from ketools.servers.tokens import TokenFile
from ketools.service.service import EditService

pytestmark = pytest.mark.anyio
ALICE = principal("alice", ["read", "edit"], ["user/alice", "session/alice/*"])
SPACE = ResourceTemplateReference(uri="edits://{+space}")
Arguments = Callable[..., dict[str, Any]]


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Literal["auto", "legacy"]:
    """The protocol of 2026 and the one before."""
    chosen: Literal["auto", "legacy"] = request.param
    return chosen


@pytest.fixture(scope="module", autouse=True)
def edits(service: EditService) -> dict[str, str]:
    """One live edit in each of three spaces."""
    made = {}
    for name, target in (("user/alice", "Lyon"), ("session/alice/1", "Lima"), ("user/bob", "Oslo")):
        fact = build_request(subject="France", prompt="The capital of France is", target_new=target)
        made[name] = str(service.edits.edit(OPERATOR, fact, name, "ice").edit_id)
    return made


async def listed(client: Client) -> list[str]:
    """Every page of the list."""
    page = await client.list_resources()
    found = [str(one.uri) for one in page.resources]
    while page.next_cursor:
        page = await client.list_resources(cursor=page.next_cursor)
        found += [str(one.uri) for one in page.resources]
    return found


async def test_the_spaces_that_a_caller_reads_are_listed_under_addresses_that_can_be_read(
    service: EditService, era: Literal["auto", "legacy"]
) -> None:
    async with Client(build_server(service, caller=ALICE), mode=era) as client:
        uris = await listed(client)
        assert set(uris) == {"edits://user/alice", "edits://session/alice/1", "edits://global"}
        for uri in uris:
            assert (await client.read_resource(uri)).contents
        with pytest.raises(MCPError, match="is not alice's"):
            await client.read_resource("edits://user/bob")


async def test_a_space_of_ones_own_is_listed_before_anything_was_edited_in_it(service: EditService) -> None:
    carol = principal("carol", ["read"], ["user/carol"])
    async with Client(build_server(service, caller=carol)) as client:
        assert await listed(client) == ["edits://user/carol", "edits://global"]
        assert (await client.read_resource("edits://user/carol")).contents


async def test_many_spaces_come_in_pages(service: EditService) -> None:
    dave = principal("dave", ["read"], ["user/dave", "team/dave/*"])
    for i in range(PAGE + 5):
        service.spaces.backend.spaces.create(f"team/dave/{i}")
    async with Client(build_server(service, caller=dave)) as client:
        first = await client.list_resources()
        assert len(first.resources) == PAGE and first.next_cursor
        assert len(set(await listed(client))) == PAGE + 7
        done = (await client.complete(SPACE, {"name": "space", "value": "team/"})).completion
    assert len(done.values) == COMPLETIONS and done.total == PAGE + 5 and done.has_more


async def test_spaces_and_edit_ids_are_completed_for_the_caller_alone(
    service: EditService, era: Literal["auto", "legacy"], edits: dict[str, str]
) -> None:
    prompt, edit = PromptReference(name="review_space"), ResourceTemplateReference(uri="edit://{edit_id}")
    async with Client(build_server(service, caller=ALICE), mode=era) as client:

        async def complete(ref: Any, name: str, value: str) -> list[str]:
            return list((await client.complete(ref, {"name": name, "value": value})).completion.values)

        assert await complete(SPACE, "space", "user/") == ["user/alice"]
        assert await complete(prompt, "space", "sess") == ["session/alice/1"]
        assert await complete(prompt, "message", "x") == []
        assert set(await complete(edit, "edit_id", "e_")) == {edits["user/alice"], edits["session/alice/1"]}
        assert await complete(edit, "edit_id", edits["user/bob"]) == []


@pytest.mark.parametrize("value", ["edit_fact", "  list_edits  ", "\tlist_edits"])
def test_space_around_a_header_does_not_count(service: EditService, tmp_path: Any, value: str) -> None:
    app = http_app(service, host="127.0.0.1", port=8000, tokens=TokenFile(tmp_path / "none.json"))
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    }
    call = {"name": "list_edits", "arguments": {}, "_meta": meta}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": " 2026-07-28 ",
        "Mcp-Method": " tools/call",
        "Mcp-Name": value,
    }
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        answer = client.post("/mcp", json=body, headers=headers)
    assert answer.status_code == (200 if "list_edits" in value else 400), answer.text
