"""What every HTTP request of the tool server has to be, whoever sends it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ketools.core.errors import KetoolsError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedRequests:
    """ASGI middleware: reads header values without the space around them, refuses ambiguous requests, and answers 503
    when nobody can be recognised (a broken token file), which no tool could report.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope = {**scope, "headers": [(name, value.strip(b" \t")) for name, value in scope["headers"]]}
        if len(Request(scope).headers.getlist("authorization")) > 1:
            return await _refused(400, "Send one Authorization header.")(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        except KetoolsError as error:
            log.error("%s", error)
            await _refused(503, error.told())(scope, receive, send)


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status)
