"""kill -9 at many points of the pipeline of an edit: every acknowledged edit is live afterwards, none is half there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from ketools.atlas.world import world
from ketools.journal import Journal
from ketools.layers.store import ArtefactStore
from ketools.spaces.layers import LayeredSpaces

POINTS = 60
SCRIPT = Path(__file__).parent / "killable_server.py"


class Nursery:
    """The process that forks servers."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def server(self, home: Path, kill_at: int) -> tuple[int, int]:
        """A new server: its process id and port, once it answers."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home} {port} {kill_at}\n")
        self.process.stdin.flush()
        pid = int(self._line())
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return pid, port
            time.sleep(0.02)
        raise AssertionError("the server did not start")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def facts() -> Iterator[dict[str, Any]]:
    capitals = [f for f in world().all_facts() if f.relation == "capital"]
    for fact, other in zip(capitals, [*capitals[7:], *capitals[:7]], strict=True):
        prompt = f"The capital of {fact.subject} is"
        yield {
            "subject": fact.subject,
            "prompt": prompt,
            "target_new": other.target,
            "method": "ice",
            "space": "global",
        }


async def edit(port: int, fact: dict[str, Any]) -> tuple[list[str], str | None]:
    """What is live after the restart, and the acknowledged id of one more edit (None: killed or refused)."""
    async with asyncio.timeout(60), Client(f"http://127.0.0.1:{port}/mcp") as client:
        page = await client.call_tool("list_edits", {"space": "global", "limit": 200})
        assert page.structured_content is not None
        live = [row["edit_id"] for row in page.structured_content["edits"]]
        try:
            result = await asyncio.wait_for(client.call_tool("edit_fact", fact), 20)
        except Exception:
            return live, None
        made = result.structured_content or {}
        return live, made["edit_id"] if made.get("status") == "committed" else None


def run(nursery: Nursery, home: Path, kill_at: int, fact: dict[str, Any]) -> tuple[list[str], str | None]:
    pid, port = nursery.server(home, kill_at)
    try:
        return asyncio.run(edit(port, fact))
    except BaseExceptionGroup:  # the connection broke while it was being closed
        return [], None
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has killed itself already
            os.kill(pid, signal.SIGKILL)


def test_an_acknowledged_edit_survives_kill_9_at_any_point_and_no_half_edit_appears(
    nursery: Nursery, tmp_path: Path
) -> None:
    supply = facts()
    _, first = run(nursery, tmp_path, 0, next(supply))
    calls = int((tmp_path / "calls").read_text())
    acknowledged = [first] if first else []
    for point in range(POINTS):
        _, made = run(nursery, tmp_path, 1 + point * calls // POINTS, next(supply))
        acknowledged += [made] if made else []
        live = check(tmp_path)
        assert set(acknowledged) <= set(live)
        assert len(live) <= point + 2
    killed = (tmp_path / "killed").read_text().splitlines()
    assert len(killed) >= 50  # by themselves, on the pipeline
    assert len(acknowledged) >= 1


def check(home: Path) -> tuple[str, ...]:
    """What a restart makes of the home: nothing pending, every live edit whole."""
    journal = Journal(home / "journal.db")
    try:
        journal.recover()
        assert journal.pending() == []
        live = journal.head("global").live
        assert all(r.outcome and r.outcome.outcome == "committed" for r in journal.records(live))
        served = LayeredSpaces(journal, ArtefactStore(home / "artefacts")).layer("global")
        assert [edit.edit_id for edit in served.edits] == [*live]
        return live
    finally:
        journal.close()
