"""A server process full of somebody's long calls: everybody else is answered, and it ends when it is told to."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from ketools.bench.abuse import LONG, QUESTION, Server, await_health, served
from ketools.service.settings import Settings

pytestmark = pytest.mark.anyio

CALLS = 42


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server with tokens for `quiet`, `hostile0` and others."""
    with served(Settings(home=tmp_path), tmp_path) as running:
        await_health(running)
        yield running


async def test_others_are_answered_beside_forty_two_long_calls_and_a_signal_ends_them_all(server: Server) -> None:
    slow = {"subject": "Spain", "prompt": LONG * 4 + "is", "samples": 32}
    async with server.client("quiet") as quiet, server.client("hostile0") as hostile:
        calls = [asyncio.create_task(hostile.call_tool("locate_fact", slow)) for _ in range(CALLS)]
        asked = await quiet.call_tool("ask", QUESTION)
        assert not asked.is_error
        for client in (quiet, hostile):
            assert not (await client.call_tool("list_edits", {})).is_error
            assert (await client.call_tool("job_status", {"job_id": "j_none"})).is_error
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"{server.url}/health")).status_code == 200
        assert not all(call.done() for call in calls)
        server.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.process.wait, 60) == 0
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_job_that_is_waited_for_is_told_when_it_has_ended(server: Server) -> None:
    async with server.client("quiet") as client:
        ended = await client.call_tool("evaluate_space", {"wait": True})
    assert ended.structured_content is not None and ended.structured_content["state"] == "done"
    assert "user/quiet" in str(ended.content), "the space that was meant is told"
