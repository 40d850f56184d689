"""Who writes: so that a restart closes what a dead writer left, and not what a living one is doing."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection

HasLeft = Callable[[str, float], bool]
"""Whether a writer can no longer finish what it began at a time (seconds since 1970)."""


class Writers(Protocol):
    """Tells the living from the dead. `me`: the name of this open journal among the writers."""

    me: str

    def look(self, connection: Connection) -> HasLeft:
        """Look once who is there."""

    def close(self) -> None:
        """This writer leaves."""


class ProcessWriters:
    """The writers of a file: processes of this host. Of another host's nothing is known for `patience_s`."""

    def __init__(self, patience_s: float = 3600.0) -> None:
        self.me, self._patience_s = new_writer(), patience_s
        _here.add(self.me)

    def look(self, connection: Connection) -> HasLeft:
        """By the process's id and start; what began on another host counts as left once it is `patience_s` old."""

        def has_left(writer: str, since: float) -> bool:
            alive = is_alive(writer)
            return since < time.time() - self._patience_s if alive is None else not alive

        return has_left

    def close(self) -> None:
        """What this one left open counts as left from now on."""
        _here.discard(self.me)


_here: set[str] = set()
"""The writers of this process that have not been closed."""


def new_writer() -> str:
    """A name for one open journal: host, process id, the process's start, and a random part."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_started(pid)}/{secrets.token_hex(4)}"


def is_alive(writer: str) -> bool | None:
    """Whether a writer may still finish what it began; None when it runs on another host."""
    host, pid, started, _ = writer.split("/")
    if host != socket.gethostname():
        return None
    if int(pid) == os.getpid():
        return writer in _here
    return _exists(int(pid)) and _started(int(pid)) == started


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str:
    """When a process started, in ticks since boot; "" where the system does not tell, "dead" for zombies."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "dead" if fields[0] in "ZX" else fields[19]
