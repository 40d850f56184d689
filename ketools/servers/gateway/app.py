"""The gateway's routes. What is not listed here reaches nothing: the path that a caller sends is never passed on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Receive, Scope, Send

from ketools.core.errors import KetoolsError
from ketools.core.pacing import acting_for
from ketools.core.requests import Prompt
from ketools.engines.base import Speaker, Upstream
from ketools.layers.composition import EditLayer
from ketools.models.text import as_text
from ketools.notes import Prepared
from ketools.servers.gateway.access import Access
from ketools.servers.gateway.errors import ApiError, answer_error, unknown_model
from ketools.servers.gateway.in_process import InProcess
from ketools.servers.gateway.metrics import Measured, Metrics
from ketools.servers.gateway.models import Models
from ketools.servers.gateway.prompts import Body, Prepare, chat_with_notes, text_with_notes, turns_as_text
from ketools.servers.gateway.relay import ChatRequest, Relay
from ketools.servers.gateway.settings import GatewaySettings
from ketools.servers.tokens import TokenFile

if TYPE_CHECKING:
    from ketools.service.service import EditService

CHAT, TEXT, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
NOTERS = 8
"""How many threads may look for the notes that a prompt asks for."""


class Answering(Protocol):
    """What answers the requests of a gateway."""

    def connected(self) -> AbstractAsyncContextManager[None]: ...

    async def answer(self, ask: ChatRequest, send: Send) -> None: ...


def answering(service: EditService, settings: GatewaySettings, metrics: Metrics) -> Answering:
    """The service's engine as what answers: a relay to vLLM's servers, or the engine in this process itself."""
    engine: Any = service.runtime.engine
    if hasattr(engine, "route"):
        return Relay(cast(Upstream, engine), settings, metrics)
    return InProcess(cast(Speaker, engine))


class Known(Mount):
    """Another application for the paths that it knows; every other path is the gateway's to answer."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether one of its routes knows the path."""
        routes = cast(Starlette, self.app).routes
        known = any(route.matches(scope)[0] is not Match.NONE for route in routes)
        return super().matches(scope) if known else (Match.NONE, {})


def gateway_app(
    service: EditService,
    *,
    host: str,
    tokens: TokenFile,
    allowed_hosts: Sequence[str] = (),
    rest: Starlette | None = None,
    settings: GatewaySettings | None = None,
) -> Starlette:
    """The ASGI application. `rest`: an application for every other path, such as the tool server's.

    Raises `InvalidRequest` when the host is public and there are no tokens.
    """
    settings, metrics = settings or GatewaySettings(), Metrics()
    gateway = Gateway(
        service=service,
        access=Access.of(host, tokens, allowed_hosts),
        models=Models(service, service.runtime.engine.model_name),
        relay=answering(service, settings, metrics),
        settings=settings,
        metrics=metrics,
    )

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if rest is not None:
                await stack.enter_async_context(rest.router.lifespan_context(rest))
            await stack.enter_async_context(gateway.relay.connected())
            yield

    app = Starlette(
        routes=[*gateway.routes(), *([Known("/", rest)] if rest is not None else [])],
        middleware=[Middleware(Measured, metrics=metrics, routes=frozenset({CHAT, TEXT, MODELS}))],
        exception_handlers={kind: cast(Any, answer_error) for kind in (KetoolsError, HTTPException, Exception)},
        lifespan=running,
    )
    app.router.redirect_slashes = False
    return app


WORD_JOINER = "\u2060"


@dataclass
class Gateway:
    """The endpoints."""

    service: EditService
    access: Access
    models: Models
    relay: Answering
    settings: GatewaySettings
    metrics: Metrics
    _noters: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(NOTERS))

    def routes(self) -> list[BaseRoute]:
        """The allow-list."""
        return [
            Route(CHAT, Completions(self, CHAT, chat_with_notes), methods=["POST"]),
            Route(TEXT, Completions(self, TEXT, text_with_notes), methods=["POST"]),
            Route(MODELS, self.list_models, methods=["GET"]),
            Route(MODELS + "/{name:path}", self.show_model, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.show_metrics, methods=["GET"]),
        ]

    async def list_models(self, request: Request) -> Response:
        """What the caller may name as `model`."""
        who = await self.access.caller(request)
        return JSONResponse({"object": "list", "data": await self.models.listed(who)})

    async def show_model(self, request: Request) -> Response:
        """One of them."""
        who, name = await self.access.caller(request), request.path_params["name"]
        found = [card for card in await self.models.listed(who) if card["id"] == name]
        if not found:
            raise unknown_model(name)
        return JSONResponse(found[0])

    async def health(self, request: Request) -> Response:
        """Whether this process lives; the engine's state is the engine's to tell."""
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """Counters for Prometheus, for anybody with a token."""
        await self.access.caller(request)
        page, kind = self.metrics.page()
        return Response(page, media_type=kind)

    def plain(self, body: Body) -> Body:
        """The body with a word joiner inside what the model would read as a control token, so that it stays text."""
        outline = getattr(self.service.runtime.engine, "outline", None)
        if outline is None:
            return body
        return turns_as_text(body, lambda text, role: as_text(outline, text, role, WORD_JOINER))

    async def applied(
        self, body: Body, layer: EditLayer, put: Callable[[Body, Prepare], Body]
    ) -> tuple[Body, EditLayer]:
        """The body with the notes that it asks for, and the layer in which the routed edits act that it asks for.

        A body of several prompts has one layer: that of all its edits in scope. Runs in a thread, since an encoder may
        have to read the question.
        """
        if not layer.scoped:
            return body, layer
        self.metrics.with_notes.inc()
        active = set[str]()

        def prepare(prompt: Prompt) -> Prepared:
            found = self.service.runtime.notes.prepare(prompt, layer)
            active.update(found.layer.active)
            return found

        changed = await anyio.to_thread.run_sync(put, body, prepare, limiter=self._noters)
        return changed, layer.activate(active)


@dataclass(frozen=True)
class Completions:
    """An ASGI endpoint for one kind of completion. `put`: how notes get into its body."""

    gateway: Gateway
    path: str
    put: Callable[[Body, Prepare], Body]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, resolve, and let the engine answer."""
        gateway, request = self.gateway, Request(scope, receive)
        who = await gateway.access.caller(request)
        body = parsed(await read_body(request, gateway.settings.body_bytes))
        name = model_of(body)
        served, layer = await gateway.applied(gateway.plain(body), await gateway.models.layer(who, name), self.put)
        ask = ChatRequest(self.path, served, layer, name)
        with acting_for(who.name):
            await self._until_hang_up(ask, receive, send)

    async def _until_hang_up(self, ask: ChatRequest, receive: Receive, send: Send) -> None:
        """Answer, unless the caller goes away: the engine need not finish then."""
        refused: KetoolsError | None = None

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gateway.metrics.hang_ups.inc()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            try:
                await self.gateway.relay.answer(ask, send)
            except KetoolsError as error:
                refused = error
            group.cancel_scope.cancel()
        if refused is not None:
            raise refused


async def read_body(request: Request, most: int) -> bytes:
    """The whole body. Raises `ApiError` (413) as soon as it is known to be too large."""
    too_large = ApiError(413, f"The body is larger than {most} bytes; send less.", "body_too_large")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise too_large
    except ClientDisconnect:
        raise ApiError(400, "The caller left before the body's end.", "hang_up") from None
    return bytes(body)


def parsed(body: bytes) -> dict[str, Any]:
    """The body's JSON object. Raises `ApiError` (400)."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        where = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise ApiError(400, f"The body is no JSON{where}; send one JSON object.", "invalid_json") from None
    if not isinstance(found, dict):
        raise ApiError(400, "The body must be one JSON object.", "invalid_json")
    return found


def model_of(body: Body) -> str:
    """The name in `model`. Raises `ApiError` (400) when there is none."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise ApiError(
            400, "Name the model: BASE or BASE@space; GET /v1/models lists yours.", "no_model", param="model"
        )
    return name
