"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from ketools.core.errors import (
    EngineRefused,
    EngineUnavailable,
    Forbidden,
    InvalidRequest,
    KetoolsError,
    NotFound,
    StorageError,
)

INVALID = "invalid_request_error"
SERVER = "server_error"
STATUS: tuple[tuple[type[KetoolsError], int, str, str], ...] = (
    (EngineUnavailable, 503, SERVER, "engine_unavailable"),
    (EngineRefused, 502, SERVER, "engine_refused"),
    (StorageError, 503, SERVER, "storage_unavailable"),
    (Forbidden, 403, "permission_error", "forbidden"),
    (NotFound, 404, INVALID, "not_found"),
    (InvalidRequest, 400, INVALID, "invalid_request"),
)
"""The first class that an error belongs to tells its status, type and code."""
UNAVAILABLE = {
    502: "The engine cannot serve this model; the gateway's log says why.",
    503: "The model cannot be served just now; try again in {wait} s.",
}
log = logging.getLogger(__name__)


class ApiError(KetoolsError):
    """An answer that is an error. `code`: what programs look at; `param`: the field of the request at fault."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        kind: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.kind = status, code, param, kind
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON that OpenAI's clients expect."""
        return {"error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code}}


def unknown_model(name: str) -> ApiError:
    """A model or space that does not exist, or is somebody else's: one answer for all, so that nothing is told."""
    message = f"The model {name[:200]!r} does not exist or you do not have access to it. GET /v1/models lists yours."
    return ApiError(404, message, "model_not_found", param="model")


def as_api_error(error: Exception) -> ApiError:
    """What a caller is told about an error; an unforeseen one is not quoted."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        message = f"{error.detail}: this server answers /v1/models, /v1/chat/completions and /v1/completions."
        return ApiError(error.status_code, message, _phrase(error.status_code), headers=error.headers)
    for known, status, kind, code in STATUS:
        if isinstance(error, known):
            wait = str(max(1, math.ceil(getattr(error, "retry_after_s", 2.0))))
            headers = {"Retry-After": wait} if status == 503 else None
            if status >= 500:  # these name servers and paths, which are the operator's business
                log.warning("%s", error)
            message = str(error) if status < 500 else UNAVAILABLE.get(status, "").format(wait=wait)
            return ApiError(status, message, code, kind=kind, headers=headers)
    return ApiError(500, "The gateway failed on this request; its log says why.", "internal_error", kind=SERVER)


async def answer_error(request: Request, error: Exception) -> JSONResponse:
    """Starlette's handler for every error."""
    told = as_api_error(error)
    return JSONResponse(told.body, told.status, headers=told.headers)


def broken_off(message: str) -> dict[str, Any]:
    """A last event that OpenAI's clients raise as an error, so that half an answer is not taken for a whole one."""
    error = ApiError(503, message, "broken_off", kind=SERVER)
    return {"type": "http.response.body", "body": f"data: {json.dumps(error.body)}\n\n".encode(), "more_body": True}


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "_")
