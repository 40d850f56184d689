"""Where calls run: a few of each principal at once, the others wait their turn without holding a thread.

Calls that only look at records have a lane of their own, so they are answered however much long work there is.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self, TypeVar

import anyio
import anyio.to_thread

from ketools.core.errors import LimitReached
from ketools.service.settings import Settings

T = TypeVar("T")

PRINCIPALS = 64
"""So many principals may each have a call running, however many calls the others have."""
SHARED = 4
"""Until so many calls run, a principal may have more than one."""


@dataclass
class Lane:
    """The places for one kind of calls; of one event loop. Free ones go to whoever has the fewest calls running."""

    max_running: int
    max_waiting: int
    _running: Counter[str] = field(default_factory=Counter)
    _waiting: dict[str, deque[anyio.Event]] = field(default_factory=dict)

    @cached_property
    def threads(self) -> anyio.CapacityLimiter:
        """A thread for every place."""
        return anyio.CapacityLimiter(PRINCIPALS + SHARED)

    async def run(self, who: str, work: Callable[[], T], waiting: Callable[[], Awaitable[None]]) -> T:
        """The work's result, done in a thread once there is a place; `waiting` is awaited first if there is none.

        Raises `LimitReached` when too many calls of the principal wait already.
        """
        async with self.place(who, waiting):
            return await anyio.to_thread.run_sync(work, limiter=self.threads)

    @asynccontextmanager
    async def place(self, who: str, waiting: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """A place for the principal while the block lasts."""
        if self._open_to(who):
            self._running[who] += 1
        else:
            await self._wait(who, waiting)
        try:
            yield
        finally:
            self._leave(who)

    def _open_to(self, who: str) -> bool:
        own, everybody = self._running[who], self._running.total()
        return everybody < PRINCIPALS if own == 0 else own < self.max_running and everybody < SHARED

    async def _wait(self, who: str, waiting: Callable[[], Awaitable[None]]) -> None:
        queue = self._waiting.setdefault(who, deque())
        if len(queue) >= self.max_waiting:
            raise LimitReached(
                f"{self._running[who]} calls of {who} run and {len(queue)} wait, as many as may: wait until one has "
                "been answered, then call again."
            )
        turn = anyio.Event()
        queue.append(turn)
        try:
            await waiting()
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self._leave(who)
            else:
                queue.remove(turn)
            raise

    def _leave(self, who: str) -> None:
        self._running[who] -= 1
        self._running += Counter()  # drops those who have none
        for name in sorted(self._waiting, key=lambda name: self._running[name]):
            queue = self._waiting[name]
            while queue and self._open_to(name):
                self._running[name] += 1
                queue.popleft().set()
            if not queue:
                del self._waiting[name]


@dataclass(frozen=True)
class Lanes:
    """The two lanes of a server."""

    work: Lane
    quick: Lane

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Lanes with the limits of the settings."""
        return cls(*(Lane(settings.max_running, settings.max_waiting) for _ in range(2)))
