"""A queue in which everybody's turn comes round."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class Rounds(Generic[T]):
    """A queue of several lines, of which each gives one in turn: who has many waiting holds up only its own.

    Thread-safe.
    """

    _lines: OrderedDict[str, deque[T]] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, line: str, item: T) -> None:
        """Queue an item at the end of its line."""
        with self._lock:
            self._lines.setdefault(line, deque()).append(item)

    def get(self) -> T:
        """The first of the next line; there must be one."""
        with self._lock:
            line, items = self._lines.popitem(last=False)
            item = items.popleft()
            if items:
                self._lines[line] = items
            return item
