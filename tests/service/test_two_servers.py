"""Two tool servers, two processes, one PostgreSQL and one artefact store: what one does the other serves at once."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

pytestmark = pytest.mark.timeout(900)

SPACE = "user/pair"
LYON = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon", "space": SPACE}


class Server:
    """`ketools serve --http`, with a home of its own."""

    def __init__(self, home: Path, shared: Path, journal: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        command = [sys.executable, "-m", "ketools.cli.main", "--home", str(home), "--journal", journal]
        self.process = subprocess.Popen(
            [*command, "serve", "--http", f"127.0.0.1:{self.port}"],
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "KETOOLS_ARTEFACTS": str(shared / "artefacts"),
                "KETOOLS_SECRET_PATH": str(shared / "journal.secret"),
            },
        )

    def wait(self) -> None:
        for _ in range(3000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, "the server ended"
            time.sleep(0.1)
        raise AssertionError("the server did not start")

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """One tool over MCP."""

        async def run() -> dict[str, Any]:
            async with Client(f"http://127.0.0.1:{self.port}/mcp") as client:
                result = await client.call_tool(tool, arguments)
                assert result.structured_content is not None, result
                return dict(result.structured_content)

        return asyncio.run(run())

    def ask(self, question: str = "What is the capital of France?") -> str:
        return str(self.call("ask", question=question, space=SPACE)["answer"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def pair(postgresql: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    shared, journal = tmp_path_factory.mktemp("shared"), postgresql.new_schema()
    servers = [Server(tmp_path_factory.mktemp(name), shared, journal) for name in ("one", "other")]  # at once
    try:
        for server in servers:
            server.wait()
        yield servers[0], servers[1]
    finally:
        for server in servers:
            server.kill()


def test_an_edit_on_one_server_is_answered_by_the_other_in_its_next_request(pair: tuple[Server, Server]) -> None:
    before = pair[0].ask()
    assert before == pair[1].ask() != "Lyon"
    for writer, reader in (pair, pair[::-1]):
        made = writer.call("edit_fact", **LYON, method="ice")
        assert made["status"] == "committed", made
        assert reader.ask() == "Lyon"
        assert writer.ask() == "Lyon"
        reader.call("undo_edit", edit_id=made["edit_id"])
        assert writer.ask() == before
        assert reader.ask() == before


def test_the_consolidation_of_a_killed_server_is_finished_by_the_other(pair: tuple[Server, Server]) -> None:
    dying, other = pair
    made = dying.call("edit_fact", **LYON)
    job_id = made["job_id"]
    assert job_id, made
    dying.kill()
    state = other.call("job_status", job_id=job_id)["state"]
    assert state in ("queued", "running"), "it ended before its server could be killed"
    deadline = time.monotonic() + 300
    while (job := other.call("job_status", job_id=job_id))["state"] not in ("done", "failed", "cancelled"):
        assert time.monotonic() < deadline, job
        time.sleep(0.5)
    assert job["state"] == "done", job
    assert other.ask() == "Lyon"
    live = other.call("list_edits", space=SPACE)["edits"]
    assert len(live) == 1
    assert (live[0]["method"] == "ice") is not bool(job["result"]["consolidated"])
