"""Fair shares of one model in one process: whoever used it least lately goes first, at every pass through it.

Without it, long work of many callers would slow down everybody's short questions by as much as there are callers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Condition

BACKGROUND = ""
"""Who works when nobody waits for it, as jobs do."""
HALF_LIFE_S = 10.0
ACTIVE_S = 0.1
"""How long after its last pass a caller is taken to be still at work."""
MOST_WAIT_S = 0.5
"""The longest wait before one pass: nobody stands still, not even while somebody else holds what it needs."""
MOST_CHARGED_S = 1.0
"""A longer time between two passes was spent waiting for something else."""
RECHECK_S = 0.02


@dataclass
class Caller:
    """Whose work a thread or task does. `last`: when it last went through the model."""

    name: str
    last: float | None = None


_caller: ContextVar[Caller | None] = ContextVar("ketools_caller", default=None)


@contextmanager
def acting_for(name: str) -> Iterator[None]:
    """The model is used for this caller inside the block."""
    token = _caller.set(Caller(name))
    try:
        yield
    finally:
        _caller.reset(token)


@dataclass
class Account:
    """Seconds that a caller used lately (older ones count less), and when it was last at work."""

    used: float = 0.0
    seen: float = 0.0

    def charge(self, seconds: float, now: float) -> None:
        """Add what was used; let what was used before fade."""
        self.used = self.used * 0.5 ** ((now - self.seen) / HALF_LIFE_S) + seconds
        self.seen = now


def _side_by_side() -> int:
    """How many callers may go on although others used less: half of the cores have nothing else to do."""
    return max(1, (os.cpu_count() or 1) // 2)


@dataclass
class Pacer:
    """Thread-safe. `ahead`: so many callers with less use behind them hold another one up."""

    ahead: int = field(default_factory=_side_by_side)
    _accounts: dict[str, Account] = field(default_factory=dict)
    _changed: Condition = field(default_factory=Condition)

    def step(self) -> None:
        """Call before every pass: charges its caller for the time since the last one, and waits for who goes first."""
        caller = _caller.get() or Caller(BACKGROUND)
        name = caller.name
        with self._changed:
            now = time.monotonic()
            account = self._accounts.setdefault(name, Account(seen=now))
            account.charge(0.0 if caller.last is None else min(now - caller.last, MOST_CHARGED_S), now)
            self._changed.notify_all()
            give_up = now + MOST_WAIT_S
            while now < give_up and self._held_up(name, account, now):
                self._changed.wait(RECHECK_S)
                now = time.monotonic()
                account.charge(0.0, now)
            caller.last = now

    def _held_up(self, name: str, account: Account, now: float) -> bool:
        first = sum(
            name == BACKGROUND or one.used < account.used
            for other, one in self._accounts.items()
            if other not in (name, BACKGROUND) and now - one.seen < ACTIVE_S
        )
        return first >= self.ahead
