"""Who writes: so that a restart closes what a dead process left, and not what a living one is doing."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path


def new_writer() -> str:
    """A name for one open journal: host, process id, the process's start, and a random part."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_started(pid)}/{secrets.token_hex(4)}"


def is_alive(writer: str, me: str) -> bool | None:
    """Whether a writer may still finish what it began; None when it runs on another host.

    A writer of this very process, other than `me`, was closed before `me` was opened.
    """
    host, pid, started, _ = writer.split("/")
    if writer == me:
        return True
    if host != me.split("/")[0]:
        return None
    if int(pid) == os.getpid():
        return False
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
