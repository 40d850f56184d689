"""Cancelled means not committed: real clients cancel, or hang up, at exact moments of an edit, also after its commit.

A moment is the n-th call of a function of ketools or of the database library in the thread that does the edit. That
thread stands still there until the server has heard of the cancellation, so every run meets the same moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import anyio.from_thread
import pytest
import uvicorn
from mcp import Client

import ketools
from ketools.editing.pipeline import EditPipeline
from ketools.servers.http import http_app
from ketools.servers.mcp import build_server
from ketools.servers.tokens import TokenFile
from ketools.service.service import EditService
from ketools.tools.calling import call as call_tool

pytestmark = pytest.mark.anyio

MOMENTS = 20
"""Of an edit, for each of three ways to cancel it, evenly spread."""
WATCHED = (f"{Path(ketools.__file__).parent}{os.sep}", f"{os.sep}sqlalchemy{os.sep}")
Way = Literal["memory", "legacy", "http"]


@dataclass
class Standstill:
    """A profile function that counts calls from the pipeline on, and stands still at one until `gone()` is true."""

    at: int = 0
    gone: Callable[[], bool] = lambda: True
    count: int = 0
    reached: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    thread: int = 0

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call":
            if frame.f_code is EditPipeline.run.__code__:
                self.thread = threading.get_ident()
            if self.thread == threading.get_ident() and is_watched(frame.f_code.co_filename):
                self._moment()
        elif event == "return" and frame.f_code is call_tool.__code__ and self.thread == threading.get_ident():
            self.thread = 0
            self.ended.set()

    def _moment(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.reached.set()
            while not self.gone():
                threading.Event().wait(0.002)


@cache
def is_watched(file: str) -> bool:
    """Whether a file is ketools' own, or the database library's."""
    return file.startswith(WATCHED[0]) or WATCHED[1] in file


def cancelled_here() -> bool:
    """Whether the server has cancelled the call that this thread works for."""
    try:
        anyio.from_thread.check_cancelled()
    except asyncio.CancelledError:
        return True
    return False


@contextlib.contextmanager
def watching(standstill: Standstill) -> Iterator[Standstill]:
    """Threads that begin inside are watched."""
    threading.setprofile(standstill)
    try:
        yield standstill
    finally:
        threading.setprofile(None)


@asynccontextmanager
async def client(service: EditService, way: Way, home: Path) -> AsyncIterator[Client]:
    """A client of a server of its own, in this process or over HTTP; at the end the server has ended."""
    if way != "http":
        async with Client(build_server(service), mode="legacy" if way == "legacy" else "auto") as connected:
            yield connected
        return
    app = http_app(service, host="127.0.0.1", port=0, tokens=TokenFile(home / "none.json"))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        async with Client(f"http://127.0.0.1:{port}/mcp") as connected:
            yield connected
    finally:
        server.should_exit = True
        await serving


@pytest.fixture(scope="module")
def length(service: EditService, home: Path, lyon: Callable[..., dict[str, Any]]) -> int:
    """How many moments an edit has, counted on one that is not cancelled and is told as committed."""

    async def count(space: str) -> int:
        with watching(Standstill()) as standstill:
            async with client(service, "memory", home) as connected:
                made = await connected.call_tool("edit_fact", lyon(space))
        assert made.structured_content is not None and made.structured_content["status"] == "committed"
        assert service.journal.head(space).live == (made.structured_content["edit_id"],)
        return standstill.count

    asyncio.run(count("user/first"))  # opens the engine; what the model answers is cached
    return asyncio.run(count("user/second"))


@pytest.mark.parametrize("way", ["memory", "legacy", "http"])
@pytest.mark.parametrize("part", range(MOMENTS))
async def test_whoever_cancels_or_hangs_up_at_any_moment_leaves_nothing_live(
    service: EditService, home: Path, length: int, lyon: Callable[..., dict[str, Any]], way: Way, part: int
) -> None:
    space = f"user/{way}{part}"
    moment = 1 + (length - 1) * part // (MOMENTS - 1)
    left = threading.Event()
    with watching(Standstill(moment, lambda: left.is_set() or cancelled_here())) as standstill:
        async with client(service, way, home) as connected:
            call = asyncio.create_task(connected.call_tool("edit_fact", lyon(space)))
            await asyncio.to_thread(standstill.reached.wait, 60)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            if way == "memory":  # the server's task is the client's, and has ended with it
                left.set()
            await asyncio.to_thread(standstill.ended.wait, 60)
    assert standstill.count >= moment
    while service.journal.head(space).live or service.journal.pending():  # until it is taken back, or for ever
        await asyncio.sleep(0.01)
    if part == MOMENTS - 1:
        assert service.journal.head(space).reason.startswith("revert"), "the last moment lies after the commit"
