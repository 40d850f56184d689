"""How much one principal may have going on, so that nobody starves the others. An admin is the operator: no limits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from threading import Lock

from ketools.core.errors import LimitReached, NotFound
from ketools.core.principals import Principal, Scope
from ketools.service.backend import Backend

MINUTE_S = 60.0


@dataclass
class Window:
    """What was spent within the last minute."""

    spent: deque[tuple[float, int]] = field(default_factory=deque)

    def wait_s(self, amount: int, most: int, now: float) -> float:
        """Seconds until the amount fits; 0 if it does now, infinity if it never will."""
        while self.spent and self.spent[0][0] <= now - MINUTE_S:
            self.spent.popleft()
        over = sum(spent for _, spent in self.spent) + amount - most
        if amount > most or over <= 0:
            return float("inf") if amount > most else 0.0
        for when, spent in self.spent:
            over -= spent
            if over <= 0:
                return when + MINUTE_S - now
        raise AssertionError("what was spent is more than what is over")


@dataclass
class Quotas:
    """Thread-safe. Rates are this process's; spaces, live edits and jobs are counted in the journal."""

    backend: Backend
    clock: Callable[[], float] = time.monotonic
    _windows: dict[tuple[str, str], Window] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def spend_text(self, who: Principal, size: int) -> None:
        """Count bytes of arguments. Raises `LimitReached`."""
        self._spend(who, "bytes of text", size, self.backend.settings.max_text_per_minute)

    def spend_edits(self, who: Principal, edits: int) -> None:
        """Count edits that are about to be tried. Raises `LimitReached`."""
        self._spend(who, "edits", edits, self.backend.settings.max_edits_per_minute)

    def _spend(self, who: Principal, what: str, amount: int, most: int) -> None:
        if unlimited(who):
            return
        with self._lock:
            window, now = self._windows.setdefault((who.name, what), Window()), self.clock()
            wait = window.wait_s(amount, most, now)
            if not wait:
                window.spent.append((now, amount))
                return
        if wait == float("inf"):
            raise LimitReached(f"One call may bring {most} {what}, and this one brings {amount}: send less.")
        raise LimitReached(f"{who.name} may send {most} {what} a minute; call again in {ceil(wait)} s.")

    def require_room(self, who: Principal, space: str, edits: int) -> None:
        """Raise `LimitReached` when a space, or so many edits, would be more than the principal may have."""
        if unlimited(who):
            return
        journal, settings = self.backend.journal, self.backend.settings
        own = [made.name for made in journal.spaces(owner=who.name)]
        if len(own) >= settings.max_spaces and not self._exists(space):
            raise LimitReached(
                f"{who.name} has {len(own)} spaces, as many as it may: edit one of them, or ask the operator to "
                "drop some."
            )
        live = sum(len(head.live) for head in journal.heads(own)) if edits else 0
        if live + edits > settings.max_live_edits:
            raise LimitReached(
                f"{who.name} has {live} live edits and may have {settings.max_live_edits}: undo some first."
            )

    def _exists(self, space: str) -> bool:
        try:
            self.backend.journal.space(space)
        except NotFound:
            return False
        return True

    def require_job(self, who: Principal) -> None:
        """Raise `LimitReached` when another job would be more than the principal may have going on."""
        if unlimited(who):
            return
        going = sum(who.owns(job.space or "") for job in self.backend.runner.unfinished())
        if going >= self.backend.settings.max_jobs:
            raise LimitReached(
                f"{who.name} has {going} jobs that have not ended, as many as it may: wait for one "
                "(job_status), or cancel one (cancel_job)."
            )


def unlimited(who: Principal) -> bool:
    """Whether the principal is the operator."""
    return who.may(Scope.ADMIN)
