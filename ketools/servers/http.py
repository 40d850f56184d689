"""The MCP server on streamable HTTP: who may reach it, and with which tokens."""

from __future__ import annotations

import ipaddress
import os
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, Unpack

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from ketools.core.errors import InvalidRequest
from ketools.servers.callers import FileTokens
from ketools.servers.checked import CheckedRequests
from ketools.servers.connections import ImpatientProtocol
from ketools.servers.mcp import Choice, build_server
from ketools.servers.tokens import EXAMPLE, TokenFile

if TYPE_CHECKING:
    from ketools.service.service import EditService

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def verifier_for(host: str, tokens: TokenFile) -> FileTokens | None:
    """The verifier of the token file; None when there are no tokens and the host is loopback.

    Raises `InvalidRequest` for any other host without tokens: nobody could be told from anybody.
    """
    if tokens.records():
        return FileTokens(tokens)
    if is_loopback(host):
        return None
    raise InvalidRequest(
        f"Refusing to serve on {host} without tokens: anyone who reaches it could edit the model. "
        f"Make a token ({EXAMPLE}) or bind 127.0.0.1."
    )


def security(host: str, allowed: Sequence[str], authenticated: bool) -> TransportSecuritySettings:
    """Which Host and Origin headers to accept.

    Without tokens only loopback names pass, so that a web page cannot reach the server by rebinding DNS. With
    tokens any host passes unless `allowed` names some, since a page does not know the token.
    """
    if authenticated and not allowed and not is_loopback(host):
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    names = [*LOOPBACK, host, *allowed]
    hosts = [*names, *(f"{name}:*" for name in names if name.count(":") == 0 or name.endswith("]"))]
    origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in hosts]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def http_app(
    service: EditService,
    *,
    host: str,
    port: int,
    tokens: TokenFile,
    allowed_hosts: Sequence[str] = (),
    allow_erase: bool = False,
    **choice: Unpack[Choice],
) -> Starlette:
    """The ASGI application: MCP under `/mcp`, liveness under `/health`.

    Raises `InvalidRequest` when the host is public and there are no tokens.
    """
    verifier = verifier_for(host, tokens)
    url = f"http://{host}:{port}"
    server = build_server(service, verifier=verifier, url=url, allow_erase=allow_erase, **choice)

    server.custom_route("/health", methods=["GET"])(_health)
    protection = security(host, allowed_hosts, verifier is not None)
    app = server.streamable_http_app(host=host, transport_security=protection)
    app.add_middleware(CheckedRequests)
    return app


async def _health(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


def serve_http(service: EditService, *, host: str, port: int, **options: Any) -> None:
    """Serve until interrupted; the options are those of `http_app`."""
    listen(http_app(service, host=host, port=port, **options), host, port, service.close)


END_S = 4.0
"""From a signal to stop until the process ends, whatever still runs. What is cut off is safe: the journal's
transactions are whole or absent, and its jobs are finished by another server or the next one.
"""


SWITCH_S = 0.0005
"""How long a thread may keep others from Python code. The default, ten times as long, adds up to seconds for a short
question beside long work: every operation of the model waits for it once.
"""


class EndingServer(uvicorn.Server):
    """Ends the process soon after the first signal to stop."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end: open streams and running calls get a second."""
        self.should_exit = True
        timer = threading.Timer(END_S, os._exit, (0,))
        timer.daemon = True
        timer.start()


def listen(app: Starlette, host: str, port: int, close: Callable[[], None]) -> None:
    """Serve an application until a signal to stop, close what it stands on, and end the process."""
    options: dict[str, Any] = {"log_level": "warning", "ws": "none", "timeout_graceful_shutdown": 1}
    config = uvicorn.Config(app, host=host, port=port, http=ImpatientProtocol, **options)
    sys.setswitchinterval(SWITCH_S)
    server = EndingServer(config)
    server.run()
    if not server.started:
        sys.exit(1)
    close()
    os._exit(0)
