"""The way of one request to the engine that serves its layer, and of the answer back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
from starlette.types import Send

from ketools.core.errors import EngineUnavailable
from ketools.engines.base import Route, Upstream
from ketools.layers.composition import EditLayer
from ketools.servers.gateway.errors import SERVER, ApiError, broken_off
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
class ChatRequest:
    """A checked request: where it goes, for which layer, and under which name the caller knows the model."""

    path: str
    body: Mapping[str, Any]
    layer: EditLayer
    model: str

    @property
    def answers(self) -> int:
        """How many chat answers begin with a word; 0 for a text that is continued, which may begin with a space."""
        n = self.body.get("n")
        return (n if isinstance(n, int) and n > 0 else 1) if "messages" in self.body else 0


class Relay:
    """Sends requests to the engine's servers. Never falls back to another layer than the one asked for."""

    def __init__(self, upstream: Upstream, settings: GatewaySettings, metrics: Metrics) -> None:
        self.upstream, self.settings, self.metrics = upstream, settings, metrics
        self._loaders = anyio.CapacityLimiter(LOADERS)
        self._places = anyio.Semaphore(settings.requests)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The pool of connections to the engines, open while the block lasts.

        aiohttp's: its parser costs half of what httpx spends on a streamed chunk.
        """
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.settings.connect_s)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as self._session:
            yield

    async def answer(self, ask: ChatRequest, send: Send) -> None:
        """Send the request to the engine and pass its answer on as it comes.

        Raises `ApiError` or `EngineUnavailable` before it begins.

        Cancelling this closes the connection to the engine, which then stops generating.
        """
        async with self._opened(ask) as (route, response):
            renaming = Renaming(route.model, ask.model, ask.answers)
            if response.status >= 400:
                raise await self._refusal(response, renaming)
            if response.content_type == "text/event-stream":
                await self._stream(response, renaming, send)
            else:
                await self._whole(response, renaming, send)

    # --- there ---

    @asynccontextmanager
    async def _opened(self, ask: ChatRequest) -> AsyncIterator[tuple[Route, aiohttp.ClientResponse]]:
        """The beginning of the engine's answer; what is unread at the block's end is not wanted any more."""
        async with self._place():
            try:
                with anyio.fail_after(self.settings.timeout_s):
                    route, response = await self._open(ask)
            except TimeoutError:
                raise self._too_slow() from None
            try:
                yield route, response
            finally:
                response.close()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """One of the places for requests under way. Raises `EngineUnavailable` when none gets free in time."""
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(self.settings.wait_s) as bound:
                await self._places.acquire()
            if bound.cancelled_caught:
                raise EngineUnavailable("Too many requests are under way; try again.") from None
        try:
            yield
        finally:
            self._places.release()

    async def _open(self, ask: ChatRequest) -> tuple[Route, aiohttp.ClientResponse]:
        """ChatRequest until an engine answers, for at most `wait_s`: nothing of the answer was passed on yet."""
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

    async def _attempt(self, ask: ChatRequest) -> tuple[Route, aiohttp.ClientResponse]:
        route = self.upstream.route(ask.layer)
        if route is None:
            route = await anyio.to_thread.run_sync(
                self.upstream.prepare, ask.layer, limiter=self._loaders, abandon_on_cancel=True
            )
        body = json.dumps({**ask.body, "model": route.model}).encode()
        try:
            response = await self._pool.post(route.base_url + ask.path, data=body, headers=HEADERS)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            await self._failed(route, reachable=False)
            raise EngineUnavailable("The engine cannot be reached; try again.") from None
        except aiohttp.ClientError:
            raise EngineUnavailable("The engine broke off before it answered; try again.") from None
        if response.status in (404, 500, 502, 503, 504):
            await self._check(route, response)
        return route, response

    @property
    def _pool(self) -> aiohttp.ClientSession:
        assert self._session is not None, "requests come while the application runs"
        return self._session

    async def _check(self, route: Route, response: aiohttp.ClientResponse) -> None:
        """Raise `EngineUnavailable` when the answer only says that the engine is not ready for this layer."""
        if response.status == 500 and await self._is_healthy(route):
            return
        response.close()
        await self._failed(route, reachable=response.status == 404)
        raise EngineUnavailable("The engine is not ready for this model; try again.")

    async def _failed(self, route: Route, *, reachable: bool) -> None:
        """Tell the engine's side, which may have to wait for a load that is under way."""
        tell = partial(self.upstream.failed, route, reachable=reachable)
        await anyio.to_thread.run_sync(tell, limiter=self._loaders)

    async def _is_healthy(self, route: Route) -> bool:
        """Whether a failure was the request's own: a dead engine says so under /health."""
        try:
            with anyio.fail_after(self.settings.connect_s):
                async with self._pool.get(f"{route.base_url}/health") as response:
                    return response.ok
        except (aiohttp.ClientError, TimeoutError):
            return False

    # --- and back ---

    async def _whole(self, response: aiohttp.ClientResponse, renaming: Renaming, send: Send) -> None:
        try:
            with anyio.fail_after(self.settings.timeout_s):
                body = renaming.body(await response.read())
        except TimeoutError:
            raise self._too_slow() from None
        except aiohttp.ClientError:
            raise EngineUnavailable("The engine broke off in the middle of its answer; try again.") from None
        headers = [*_type_of(response), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, response: aiohttp.ClientResponse, renaming: Renaming, send: Send) -> None:
        headers = [*_type_of(response), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        with anyio.move_on_after(self.settings.timeout_s) as bound:
            try:
                async for events in renaming.events(response.content.iter_any()):
                    await send({"type": "http.response.body", "body": events, "more_body": True})
            except aiohttp.ClientError:
                await send(broken_off("The engine broke off in the middle of its answer; ask again."))
        if bound.cancelled_caught:
            await send(broken_off(str(self._too_slow())))
        await send({"type": "http.response.body", "body": b""})

    async def _refusal(self, response: aiohttp.ClientResponse, renaming: Renaming) -> ApiError:
        """The engine's refusal with the caller's name of the model; a failure of the engine is not quoted."""
        status = response.status
        if status >= 500 and status != 501:
            return ApiError(500, "The engine failed on this request.", "engine_error", kind=SERVER)
        try:
            told = json.loads(await response.read())["error"]
            message, kind, param = str(told["message"]), str(told["type"]), told.get("param")
        except (aiohttp.ClientError, ValueError, KeyError, TypeError):
            message, kind, param = "The engine refused this request.", "invalid_request_error", None
        return ApiError(status, renaming.text(message), str(status), param=param, kind=kind)

    def _too_slow(self) -> ApiError:
        message = f"The engine did not answer within {self.settings.timeout_s:g} s; ask for fewer tokens."
        return ApiError(504, message, "timeout", kind=SERVER)


def _type_of(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", response.headers.get("content-type", "application/json").encode())]
