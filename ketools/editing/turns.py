"""One after another: who commits to a space, in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock

from ketools.core.progress import Progress

POLL_S = 0.1


class Turns:
    """A queue per space, first come, first served; of one process. Other processes are noticed by the journal."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._queues: dict[str, deque[Event]] = {}

    @contextmanager
    def of(self, space: str, progress: Progress) -> Iterator[None]:
        """Wait for one's turn in a space, and hold it inside. Raises what `progress` raises, such as `Cancelled`."""
        mine = self._enter(space)
        try:
            while not mine.wait(POLL_S):
                progress(0, 1, f"waiting for other edits of {space}")
            yield
        finally:
            self._leave(space, mine)

    def _enter(self, space: str) -> Event:
        mine = Event()
        with self._lock:
            queue = self._queues.setdefault(space, deque())
            queue.append(mine)
            queue[0].set()
        return mine

    def _leave(self, space: str, mine: Event) -> None:
        with self._lock:
            queue = self._queues[space]
            queue.remove(mine)
            if queue:
                queue[0].set()
            else:
                del self._queues[space]
