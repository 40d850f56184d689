"""A real server process on stdio."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_subprocess_edits_and_remembers(
    home: Path,
    mode: Literal["auto", "legacy"],
    lyon: Callable[..., dict[str, Any]],
    text: Callable[[CallToolResult], str],
) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "ketools.cli.main", "--home", str(home), "serve", "--exclude-tools", "restore_space"],
        env={**os.environ, "KETOOLS_CONSOLIDATE": "false"},
    )
    async with Client(command, mode=mode) as client:
        assert "restore_space" not in {t.name for t in (await client.list_tools()).tools}
        edit = await client.call_tool("edit_fact", lyon("session/stdio"))
        assert edit.is_error == (mode == "legacy"), text(edit)  # the second process still knows it
        answer = await client.call_tool("ask", {"question": "What is the capital of France?", "space": "session/stdio"})
        assert text(answer) == "Lyon"
