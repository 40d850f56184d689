"""A real server process on stdio."""

from __future__ import annotations

import os
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
