"""`ketools bench abuse`: how long one principal's questions take while others do their worst."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from ketools.core.errors import EngineUnavailable
from ketools.core.progress import Progress, quiet
from ketools.servers.tokens import TokenFile
from ketools.service.settings import Settings

HOSTILE = 8
AT_ONCE = 6
"""Calls that each hostile principal has under way all the time."""
PAUSE_S = 0.5
"""Between two questions of the quiet principal."""
SETTLE_S = 5.0
"""From the first hostile call until what is measured: the server imports what such calls need once."""
QUESTION = {"question": "What is the capital of France?"}
LONG = "The capital of France and of Italy and of Spain, said again and again, "
START_S = 120.0
Call = tuple[str, Mapping[str, Any]]


def hostile_calls(number: int) -> Iterator[Call]:
    """The costliest calls that a token with `read` and `edit` may make, for ever."""
    space = f"user/hostile{number}"
    fact = {"subject": "Italy", "prompt": "The capital of Italy is"}
    facts = [{"subject": f"Land {i}", "prompt": f"The capital of Land {i} is", "target_new": "Oslo"} for i in range(40)]
    for i in itertools.count(number):
        yield "locate_fact", {"subject": "Spain", "prompt": LONG * 4 + "is", "samples": 32}
        yield "ask", {"question": LONG * 4, "chat": False, "max_new_tokens": 512, "space": space}
        yield "edit_fact", {**fact, "target_new": f"Lyon {i}", "method": "ft-m", "space": space}
        yield "edit_facts", {"facts": facts, "apply_valid": True, "space": space}
        yield "compare_methods", {"facts": facts[:10], "space": space}
        yield "list_edits", {"space": space, "limit": 200, "live_only": False}


def bench_abuse(settings: Settings, alone_s: float = 20.0, abused_s: float = 60.0, progress: Progress = quiet) -> Any:
    """A quiet principal's `ask` over HTTP, alone and beside 8 hostile ones, on a server process of its own.

    `ratio`: the 99th percentile beside them over the one alone. `list_p99_ms`: of the quiet principal's `list_edits`
    under abuse. Under abuse nothing is measured in the first seconds. `stop_s`: from SIGTERM until the server has
    ended, with the hostile calls still running.
    """
    with TemporaryDirectory(prefix="ketools-bench-") as home, served(settings, Path(home)) as server:
        return asyncio.run(_measure(server, alone_s, abused_s, progress))


@dataclass
class Server:
    """A running server. `tokens`: by name."""

    process: subprocess.Popen[bytes]
    url: str
    tokens: dict[str, str]

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[Client]:
        """A client with the token of that name."""
        headers = {"Authorization": f"Bearer {self.tokens[name]}"}
        async with (
            create_mcp_http_client(headers=headers) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http)) as client,
        ):
            yield client

    def stop(self) -> float:
        """Seconds from SIGTERM to the end."""
        begin = time.perf_counter()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        return time.perf_counter() - begin


@contextmanager
def served(settings: Settings, home: Path) -> Iterator[Server]:
    """A server with a token for each principal."""
    file = TokenFile(home / "tokens.json")
    names = ["quiet", *(f"hostile{i}" for i in range(HOSTILE))]
    tokens = {name: file.add(name, ["read", "edit"], [f"user/{name}"]) for name in names}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--home", str(home), "--model", str(settings.model), "serve", "--http", str(port), "--toolsets", "all"]
    process = subprocess.Popen([sys.executable, "-m", "ketools.cli.main", *options], stderr=subprocess.DEVNULL)
    try:
        yield Server(process, f"http://127.0.0.1:{port}", tokens)
    finally:
        process.kill()
        process.wait()


@dataclass
class Quiet:
    """What the quiet principal saw, in milliseconds."""

    asked: list[float] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)

    async def watch(self, client: Client, seconds: float) -> None:
        """Ask, list and pause until the time is over."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self.asked.append(await _timed(client, "ask", QUESTION))
            self.listed.append(await _timed(client, "list_edits", {}))
            await asyncio.sleep(PAUSE_S)


async def _timed(client: Client, tool: str, arguments: Mapping[str, Any]) -> float:
    begin = time.perf_counter()
    result = await client.call_tool(tool, dict(arguments))
    if result.is_error:
        raise EngineUnavailable(f"The quiet principal's {tool} failed: {result.content}")
    return (time.perf_counter() - begin) * 1e3


async def _measure(server: Server, alone_s: float, abused_s: float, progress: Progress) -> dict[str, Any]:
    progress(0, 3, "starting")
    await asyncio.to_thread(await_health, server)
    alone, abused, answers = Quiet(), Quiet(), Counter[str]()
    async with server.client("quiet") as client:
        await _timed(client, "ask", QUESTION)  # opens the engine
        progress(1, 3, "alone")
        await alone.watch(client, alone_s)
        progress(2, 3, "under abuse")
        hostile = [asyncio.create_task(_attack(server, i, answers)) for i in range(HOSTILE)]
        await asyncio.sleep(SETTLE_S)
        await abused.watch(client, abused_s)
        stop_s = await asyncio.to_thread(server.stop)
        for task in hostile:
            task.cancel()
        await asyncio.gather(*hostile, return_exceptions=True)
    quiet_p99, abused_p99 = _quantile(alone.asked, 99), _quantile(abused.asked, 99)
    return {
        "quiet_p50_ms": _quantile(alone.asked, 50),
        "quiet_p99_ms": quiet_p99,
        "abused_p50_ms": _quantile(abused.asked, 50),
        "abused_p99_ms": abused_p99,
        "ratio": round(abused_p99 / quiet_p99, 2),
        "list_p99_ms": _quantile(abused.listed, 99),
        "n": [len(alone.asked), len(abused.asked)],
        "hostile": HOSTILE * AT_ONCE,
        "hostile_answers": dict(answers),
        "stop_s": round(stop_s, 2),
    }


def await_health(server: Server) -> None:
    """Wait until the server answers. Raises `EngineUnavailable` when it does not start."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and server.process.poll() is None:
        with suppress(httpx.HTTPError):
            httpx.get(f"{server.url}/health").raise_for_status()
            return
        time.sleep(0.2)
    raise EngineUnavailable("The server did not start.")


async def _attack(server: Server, number: int, answers: Counter[str]) -> None:
    """Keep several calls under way; `answers` counts how they ended."""
    calls = hostile_calls(number)

    async def hammer(call: Callable[[str, dict[str, Any]], Awaitable[Any]]) -> None:
        for tool, arguments in calls:
            try:
                result = await call(tool, dict(arguments))
                answers[f"{tool} {'refused' if result.is_error else 'done'}"] += 1
            except MCPError:
                answers[f"{tool} failed"] += 1

    async with server.client(f"hostile{number}") as client, asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(hammer(client.call_tool))


def _quantile(values: list[float], share: int) -> float:
    return round(float(np.percentile(values, share)), 1)
