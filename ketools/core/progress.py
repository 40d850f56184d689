"""How long work tells how far it is, and is told to stop."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with done, total and a message as work goes on; it raises `Cancelled` when the caller has cancelled."""


def quiet(done: int, total: int, message: str) -> None:
    """Tell nobody."""
