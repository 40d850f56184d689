"""A vLLM endpoint plug-in: two routes of our own, so that dev mode can stay off.

`GET /ketools` tells that the plug-in is there, with what the weights hold.
`POST /ketools/in_place {"file": PATH or "", "held": HASH}` holds new requests at the door, lets those that run end,
has every worker change its weights, forgets cached prefixes and every adapter, and opens the door again. Loaded
only when `VLLM_PLUGINS` names it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from ketools.vllm_plugin import resolver


class AdminMiddleware:
    """ASGI middleware: requests wait in front of it while it is shut, before any adapter is looked up for them."""

    opened = asyncio.Event()
    opened.set()

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            await self.opened.wait()
        await self._app(scope, receive, send)


class InPlace:
    """See `vllm.plugins.endpoint_plugins.interface.EndpointPlugin`."""

    name = "ketools"
    required_tasks: Any = ("generate",)

    def attach_router(self, app: Any) -> None:
        """Register the door and the route."""
        from fastapi import Request
        from fastapi.responses import JSONResponse

        async def in_place(request: Request) -> JSONResponse:
            body = await request.json()
            file = str(body.get("file", ""))
            if file and not _in_store(file):
                return JSONResponse({"error": {"message": "the file is not in the adapter store"}}, 400)
            await _change(request.app.state, file, str(body.get("held", "")))
            return JSONResponse({"held": resolver.held})

        # FastAPI reads the annotations, which the future import has turned into text.
        in_place.__annotations__ = {"request": Request, "return": JSONResponse}
        app.add_api_route("/ketools/in_place", in_place, methods=["POST"])
        app.add_api_route("/ketools", lambda: {"held": resolver.held}, methods=["GET"])
        app.add_middleware(AdminMiddleware)

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Nothing to prepare."""


async def _change(state: Any, file: str, held: str) -> None:
    engine = state.engine_client
    AdminMiddleware.opened.clear()
    try:
        await engine.pause_generation(mode="wait", clear_cache=True)
        await engine.collective_rpc(method="ketools_in_place", args=(file,))
        await engine.reset_prefix_cache()
        # Adapters were compiled against what the weights were.
        state.openai_serving_models.lora_requests.clear()
        resolver.held = held
    finally:
        await engine.resume_generation()
        AdminMiddleware.opened.set()


def _in_store(file: str) -> bool:
    root = os.environ.get("KETOOLS_ADAPTERS")
    return bool(root) and Path(file).resolve().is_relative_to(Path(str(root)).resolve())
