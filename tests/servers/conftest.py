"""One service on the bundled model per test module, and MCP clients of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.types import CallToolResult, TextContent
from starlette.applications import Starlette

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
def serving() -> Callable[..., AbstractContextManager[str]]:
    """Serves what `build(port)` makes while a block lasts, and tells its URL."""

    @contextmanager
    def running(build: Callable[[int], Starlette]) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config = uvicorn.Config(build(port), host="127.0.0.1", port=port, log_level="error", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()

    return running


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
