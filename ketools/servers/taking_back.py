"""Cancelled means not committed: what a call did is undone if the caller cancels before it can be told.

The protocol forbids to answer a cancelled call, so one that committed at that very moment could not say so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

log = logging.getLogger(__name__)


@dataclass
class Ongoing:
    """What a call has changed so far, and whether its caller has gone. Thread-safe: the work runs in another thread."""

    gone: bool = False
    _changes: list[Callable[[], None]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def done(self, take_back: Callable[[], None]) -> None:
        """Something was changed; it is taken back at once where the caller has gone already."""
        with self._lock:
            self._changes.append(take_back)
            gone = self.gone
        if gone:
            self.take_back()

    def leave(self) -> None:
        """The caller has gone: what comes from now on is taken back by whoever does it."""
        with self._lock:
            self.gone = True

    def take_back(self) -> None:
        """Undo what was changed, the last change first."""
        with self._lock:
            changes, self._changes = self._changes, []
        for take_back in reversed(changes):
            try:
                take_back()
            except Exception:
                log.exception("what a cancelled call did could not be taken back")


_ongoing: ContextVar[Ongoing] = ContextVar("ketools_ongoing")


def ongoing() -> Ongoing:
    """The call that this thread or task works for."""
    return _ongoing.get(Ongoing())


@dataclass(frozen=True)
class TakingBack:
    """Middleware: takes back what a tool call did when the call is cancelled, or its caller hangs up."""

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass the call on."""
        if ctx.method != "tools/call":
            return await call_next(ctx)
        call = Ongoing()
        token = _ongoing.set(call)
        try:
            result = await call_next(ctx)
            await anyio.lowlevel.checkpoint_if_cancelled()
            return result
        except anyio.get_cancelled_exc_class():
            call.leave()
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(call.take_back)
            raise
        finally:
            _ongoing.reset(token)
