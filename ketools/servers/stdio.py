"""The MCP server on stdio: it answers before the model is loaded, and ends soon after its input closes."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

from mcp.server import MCPServer

if TYPE_CHECKING:
    from ketools.service.service import EditService

WAITING = (
    "ketools: waiting for an MCP client on standard input. Clients start this command themselves: `ketools mcp install "
    "claude-code` (or cursor, vscode, codex, claude-desktop) sets one up; `ketools serve --http 8000` listens on HTTP; "
    "`ketools chat` is for people. Ctrl-C ends it.\n"
)
"""What a person is told who starts the server in a terminal, where nobody speaks MCP."""
GRACE_S = 0.4
"""How long calls in progress may still take once the input has closed: a client that left reads no answers."""


def serve_stdio(server: MCPServer, service: EditService) -> NoReturn:
    """Serve until the input closes, then end the process without unloading libraries, which takes seconds.

    What is cut off is safe: the journal's transactions are whole or absent, and its jobs are finished by another
    server or the next one.
    """
    if sys.stdin.isatty():
        signal.signal(signal.SIGINT, lambda *_: _end())
        sys.stderr.write(WAITING)
    threading.Thread(target=_end_with_input, name="ketools-input", daemon=True).start()
    server.run("stdio")
    threading.Timer(GRACE_S, _end).start()
    service.close()
    _end()


def _end_with_input() -> None:
    """Wait until the writing end of stdin is closed; the SDK itself waits for calls in progress."""
    if not hasattr(select, "POLLRDHUP"):  # Linux only
        return
    poll = select.poll()
    poll.register(os.dup(sys.stdin.fileno()), select.POLLRDHUP)
    poll.poll()
    timer = threading.Timer(GRACE_S, _end)
    timer.daemon = True
    timer.start()


def _end() -> NoReturn:
    sys.stderr.flush()
    os._exit(0)
