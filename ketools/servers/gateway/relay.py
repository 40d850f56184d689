"""The way of one request to the engine that serves its layer, and of the answer back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import anyio.to_thread
import httpx
from starlette.types import Send

from ketools.engines.base import Route, Upstream
from ketools.errors import EngineUnavailable
from ketools.layer import EditLayer
from ketools.servers.gateway.errors import SERVER, ApiError
from ketools.servers.gateway.metrics import Metrics
from ketools.servers.gateway.renaming import Renaming
from ketools.servers.gateway.settings import GatewaySettings

FIRST_PAUSE_S, MOST_PAUSE_S = 0.05, 1.0
KEEPALIVE_S = 3.0
"""Idle connections are closed before vLLM closes them (after 5 s), so that none dies under a request."""
LOADERS = 64
"""How many threads may wait for adapters to be loaded."""
HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
"""All that travels to the engine beside the body: nothing of the caller's own headers does."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A checked request: where it goes, for which layer, and under which name the caller knows the model."""

    path: str
    body: Mapping[str, Any]
    layer: EditLayer
    model: str


def new_client(settings: GatewaySettings) -> httpx.AsyncClient:
    """The one client, with its pool of connections to the engines."""
    limits = httpx.Limits(
        max_connections=settings.connections,
        max_keepalive_connections=settings.connections,
        keepalive_expiry=KEEPALIVE_S,
    )
    timeout = httpx.Timeout(None, connect=settings.connect_s, write=settings.timeout_s, pool=settings.wait_s)
    return httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False, follow_redirects=False)


@dataclass
class Relay:
    """Sends requests to the engine's servers. Never falls back to another layer than the one asked for."""

    upstream: Upstream
    client: httpx.AsyncClient
    settings: GatewaySettings
    metrics: Metrics
    _loaders: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(LOADERS))

    async def answer(self, ask: Ask, send: Send) -> None:
        """Ask the engine and pass its answer on as it comes. Raises `ApiError` or `EngineUnavailable` before it begins.

        Cancelling this closes the connection to the engine, which then stops generating.
        """
        async with self._opened(ask) as (route, response):
            renaming = Renaming(route.model, ask.model)
            if response.status_code >= 400:
                raise await self._refusal(response, renaming)
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                await self._stream(response, renaming, send)
            else:
                await self._whole(response, renaming, send)

    # --- there ---

    @asynccontextmanager
    async def _opened(self, ask: Ask) -> AsyncIterator[tuple[Route, httpx.Response]]:
        """The engine's answer once its first bytes are there, closed afterwards."""
        try:
            with anyio.fail_after(self.settings.timeout_s):
                route, response = await self._open(ask)
        except TimeoutError:
            raise self._too_slow() from None
        try:
            yield route, response
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    async def _open(self, ask: Ask) -> tuple[Route, httpx.Response]:
        """Ask until an engine answers, for at most `wait_s`: nothing of the answer was passed on yet."""
        give_up, pause = anyio.current_time() + self.settings.wait_s, FIRST_PAUSE_S
        while True:
            try:
                return await self._attempt(ask)
            except EngineUnavailable:
                if anyio.current_time() + pause > give_up:
                    raise
            self.metrics.retries.inc()
            await anyio.sleep(pause)
            pause = min(2 * pause, MOST_PAUSE_S)

    async def _attempt(self, ask: Ask) -> tuple[Route, httpx.Response]:
        route = self.upstream.route(ask.layer)
        if route is None:
            route = await anyio.to_thread.run_sync(
                self.upstream.prepare, ask.layer, limiter=self._loaders, abandon_on_cancel=True
            )
        body = json.dumps({**ask.body, "model": route.model}).encode()
        request = self.client.build_request("POST", route.base_url + ask.path, content=body, headers=HEADERS)
        try:
            response = await self.client.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            self.upstream.failed(route, reachable=False)
            raise EngineUnavailable("The engine cannot be reached; try again.") from None
        except httpx.PoolTimeout:
            raise EngineUnavailable("Every connection to the engine is busy; try again.") from None
        except httpx.TransportError:
            raise EngineUnavailable("The engine broke off before it answered; try again.") from None
        if response.status_code in (404, 500, 502, 503, 504):
            await self._check(route, response)
        return route, response

    async def _check(self, route: Route, response: httpx.Response) -> None:
        """Raise `EngineUnavailable` when the answer only says that the engine is not ready for this layer."""
        status = response.status_code
        if status == 500 and await self._is_healthy(route):
            return
        await response.aclose()
        self.upstream.failed(route, reachable=status == 404)
        raise EngineUnavailable("The engine is not ready for this model; try again.")

    async def _is_healthy(self, route: Route) -> bool:
        """Whether a failure was the request's own: a dead engine says so under /health."""
        try:
            response = await self.client.get(f"{route.base_url}/health", timeout=self.settings.connect_s)
        except httpx.HTTPError:
            return False
        return response.is_success

    # --- and back ---

    async def _whole(self, response: httpx.Response, renaming: Renaming, send: Send) -> None:
        try:
            with anyio.fail_after(self.settings.timeout_s):
                body = renaming.body(await response.aread())
        except TimeoutError:
            raise self._too_slow() from None
        except httpx.TransportError:
            raise EngineUnavailable("The engine broke off in the middle of its answer; try again.") from None
        headers = [*_type_of(response), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, response: httpx.Response, renaming: Renaming, send: Send) -> None:
        headers = [*_type_of(response), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        with anyio.move_on_after(self.settings.timeout_s) as bound:
            try:
                async for events in renaming.events(response.aiter_raw()):
                    await send({"type": "http.response.body", "body": events, "more_body": True})
            except httpx.TransportError:
                await send(_broken_off("The engine broke off in the middle of its answer; ask again."))
        if bound.cancelled_caught:
            await send(_broken_off(str(self._too_slow())))
        await send({"type": "http.response.body", "body": b""})

    async def _refusal(self, response: httpx.Response, renaming: Renaming) -> ApiError:
        """The engine's refusal with the caller's name of the model; a failure of the engine is not quoted."""
        if response.status_code >= 500 and response.status_code != 501:
            return ApiError(500, "The engine failed on this request.", "engine_error", kind=SERVER)
        try:
            told = json.loads(await response.aread())["error"]
            message, kind, param = str(told["message"]), str(told["type"]), told.get("param")
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            message, kind, param = "The engine refused this request.", "invalid_request_error", None
        status = response.status_code
        return ApiError(status, renaming.text(message), str(status), param=param, kind=kind)

    def _too_slow(self) -> ApiError:
        message = f"The engine did not answer within {self.settings.timeout_s:g} s; ask for fewer tokens."
        return ApiError(504, message, "timeout", kind=SERVER)


def _type_of(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", response.headers.get("content-type", "application/json").encode())]


def _broken_off(message: str) -> dict[str, Any]:
    """A last event that OpenAI's clients raise as an error, so that half an answer is not taken for a whole one."""
    error = ApiError(503, message, "broken_off", kind=SERVER)
    return {"type": "http.response.body", "body": f"data: {json.dumps(error.body)}\n\n".encode(), "more_body": True}
