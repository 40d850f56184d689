"""Streamable HTTP: real requests, bearer tokens, principals, hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
import uvicorn
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

from ketools.core.errors import InvalidRequest
from ketools.servers.connections import ImpatientProtocol
from ketools.servers.http import http_app, is_loopback, security, verifier_for
from ketools.servers.resources import updated_uris
from ketools.servers.tokens import TokenFile
from ketools.service.service import EditService

pytestmark = pytest.mark.anyio

HELLO = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.fixture(scope="module")
def tokens(home: Path) -> TokenFile:
    """An empty token file."""
    return TokenFile(home / "tokens.json")


@pytest.fixture(scope="module")
def alice(tokens: TokenFile) -> str:
    """A token that reads and edits Alice's spaces."""
    return tokens.add("alice", ["read", "edit"], ["user/alice", "session/alice/*"])


@pytest.fixture(scope="module")
def url(
    service: EditService, tokens: TokenFile, alice: str, serving: Callable[..., AbstractContextManager[str]]
) -> Iterator[str]:
    """A running server that wants tokens."""
    with serving(lambda port: http_app(service, host="127.0.0.1", port=port, tokens=tokens)) as where:
        yield where


@asynccontextmanager
async def connected(url: str, token: str, mode: Literal["auto", "legacy"] = "auto") -> AsyncIterator[Client]:
    """A client that carries a bearer token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_token_edits_its_own_space_and_no_other(
    url: str,
    alice: str,
    mode: Literal["auto", "legacy"],
    lyon: Callable[..., dict[str, Any]],
    text: Callable[[CallToolResult], str],
) -> None:
    async with connected(url, alice, mode) as client:
        own = await client.call_tool("edit_fact", lyon(f"session/alice/{mode}"))
        assert own.structured_content is not None and own.structured_content["verified"]
        foreign = await client.call_tool("edit_fact", lyon("user/bob"))
        assert foreign.is_error and "is not alice's" in text(foreign)
        shared = await client.call_tool("edit_fact", lyon("global"))
        assert shared.is_error and "is not alice's" in text(shared)
        erase = {"subject": "Italy", "prompt": "The capital of Italy is", "space": "user/alice", "dry_run": True}
        erasing = await client.call_tool("erase_fact", erase)
        assert erasing.is_error and "lacks the scope" in text(erasing)


async def test_an_unknown_space_is_told_without_the_names_of_others(
    url: str, tokens: TokenFile, service: EditService, text: Callable[[CallToolResult], str]
) -> None:
    carol = tokens.add("carol", ["read", "edit"], ["user/carol*"])
    for name in ("user/carol1", "user/carmen"):
        service.runtime.spaces.create(name)
    async with connected(url, carol) as client:
        told = text(await client.call_tool("restore_space", {"space": "user/carol2", "version": 0}))
    assert "no space named 'user/carol2'" in told and "user/carol1" in told and "carmen" not in told


async def test_each_message_is_done_for_the_token_that_it_carries(
    url: str, tokens: TokenFile, alice: str, lyon: Callable[..., dict[str, Any]]
) -> None:
    bob = tokens.add("bob", ["read", "edit"], ["user/bob"])
    async with connected(url, alice) as one, connected(url, bob) as two:
        mine = await one.call_tool("edit_fact", lyon("user/alice"))
        theirs = await two.call_tool("edit_fact", lyon("user/bob"))
        assert mine.structured_content is not None and theirs.structured_content is not None
        crossed = await two.call_tool("show_edit", {"edit_id": mine.structured_content["edit_id"]})
        assert crossed.is_error


async def test_nobody_hears_when_a_foreign_space_changes(url: str, alice: str) -> None:
    async with connected(url, alice) as client:
        async with client.listen(resource_subscriptions=list(updated_uris("user/alice"))) as own:
            assert own is not None
        for uri in updated_uris("user/bob"):
            with pytest.raises(MCPError, match="is not alice's"):
                async with client.listen(resource_subscriptions=[uri]):
                    pass


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer ket_wrong"}, {"Authorization": "Basic abc"}])
async def test_a_message_without_a_good_token_is_refused(url: str, header: dict[str, str]) -> None:
    async with httpx2.AsyncClient() as http:
        response = await http.post(f"{url}/mcp", json=HELLO, headers=header)
    assert response.status_code == 401
    assert "bearer" in response.headers["www-authenticate"].lower()


async def test_a_revoked_token_stops_working_at_once(url: str, tokens: TokenFile) -> None:
    token = tokens.add("carol", ["read"], [])
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=headers) as http:
        assert (await http.post(f"{url}/mcp", json=HELLO)).status_code != 401
        tokens.revoke("carol")
        assert (await http.post(f"{url}/mcp", json=HELLO)).status_code == 401


async def test_a_broken_token_file_is_told_without_its_path_and_mended_without_a_restart(
    url: str, tokens: TokenFile, alice: str
) -> None:
    kept = tokens.path.read_bytes()
    headers = {"Authorization": f"Bearer {alice}", "Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(headers=headers) as http:
        tokens.path.write_text("{")
        refused = await http.post(f"{url}/mcp", json=HELLO)
        tokens.path.write_bytes(kept)
        mended = await http.post(f"{url}/mcp", json=HELLO)
    assert refused.status_code == 503 and "token file" in refused.json()["error"]
    assert str(tokens.path.parent) not in refused.text
    assert mended.status_code not in (401, 503)


async def test_two_authorization_headers_are_refused(url: str, alice: str) -> None:
    headers = [("Authorization", f"Bearer {alice}"), ("Authorization", "Bearer ket_other")]
    for given in (headers, headers[::-1]):
        async with httpx2.AsyncClient(headers=given) as http:
            assert (await http.post(f"{url}/mcp", json=HELLO)).status_code == 400


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", b"POST /mcp HT", b"POST /mcp HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_connection_without_a_whole_request_is_closed(begun: bytes) -> None:
    class Hasty(ImpatientProtocol):
        request_s = 0.2

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="off", http=Hasty))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname())
    writer.write(begun)
    assert b"HTTP/1.1 200" not in await asyncio.wait_for(reader.read(), 20), "read ends when the server hangs up"
    writer.close()
    server.should_exit = True
    await serving


async def test_a_foreign_host_name_is_refused_on_loopback(url: str, alice: str) -> None:
    headers = {"Host": "evil.example", "Authorization": f"Bearer {alice}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        assert (await http.post(f"{url}/mcp", json=HELLO)).status_code == 421


async def test_health_needs_no_token(url: str) -> None:
    async with httpx2.AsyncClient() as http:
        assert (await http.get(f"{url}/health")).json() == {"status": "ok"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "model.example.org"])
def test_a_public_interface_without_tokens_is_refused_and_told_how(host: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="ketools token new"):
        verifier_for(host, TokenFile(tmp_path / "tokens.json"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_loopback_without_tokens_serves_the_local_operator(host: str, tmp_path: Path) -> None:
    assert is_loopback(host)
    assert verifier_for(host, TokenFile(tmp_path / "tokens.json")) is None


def test_named_hosts_are_accepted_besides_loopback() -> None:
    settings = security("0.0.0.0", ["model.example.org"], authenticated=True)
    assert {"model.example.org", "model.example.org:*"} <= set(settings.allowed_hosts)
    assert settings.enable_dns_rebinding_protection
