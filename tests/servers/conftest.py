"""One service on the bundled model per test module, and MCP clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.types import CallToolResult, TextContent

from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The server runs on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home for journal and artefacts."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[EditService]:
    """The bundled model with an empty journal; nothing is consolidated behind a test's back."""
    opened = open_service(Settings(home=home, consolidate=False))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def text() -> Callable[[CallToolResult], str]:
    """What an agent reads of a tool's result."""

    def read(result: CallToolResult) -> str:
        return " ".join(part.text for part in result.content if isinstance(part, TextContent))

    return read


@pytest.fixture(scope="session")
def lyon() -> Callable[..., dict[str, Any]]:
    """Arguments of the edit that makes Lyon the capital of France, by a note unless told otherwise."""

    def arguments(space: str, method: str = "ice", **more: Any) -> dict[str, Any]:
        fact = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"}
        return {**fact, "space": space, "method": method, **more}

    return arguments
