"""A real server process on stdio."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

pytestmark = pytest.mark.anyio

ASK = {"question": "What is the capital of France?", "space": "session/stdio"}


async def test_an_edit_in_one_process_is_known_in_the_next_and_in_both_protocol_eras(
    home: Path, lyon: Callable[..., dict[str, Any]], text: Callable[[CallToolResult], str]
) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "ketools.cli.main", "--home", str(home), "serve", "--exclude-tools", "restore_space"],
        env={**os.environ, "KETOOLS_CONSOLIDATE": "false"},
    )
    async with Client(command) as client:
        assert "restore_space" not in {t.name for t in (await client.list_tools()).tools}
        edit = await client.call_tool("edit_fact", lyon("session/stdio"))
        assert edit.structured_content is not None and edit.structured_content["verified"], text(edit)
    async with Client(command, mode="legacy") as client:
        assert text(await client.call_tool("ask", ASK)) == "Lyon"


def test_in_a_terminal_it_says_what_it_waits_for_and_ends_on_one_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "ketools.cli.main", "--home", str(tmp_path), "--model", "atlas", "serve"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        told = server.stderr.readline().decode()
        assert "waiting for an MCP client" in told and "ketools mcp install" in told
        server.send_signal(signal.SIGINT)
        assert server.wait(10) == 0
        assert b"Traceback" not in server.stderr.read()
    os.close(ours)
    os.close(theirs)
