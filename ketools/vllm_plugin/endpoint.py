"""A vLLM endpoint plug-in: one route of our own for a change in place, so that dev mode can stay off.

`POST /ketools/in_place {"file": PATH or ""}` drains the requests that are running, has every worker change its
weights, forgets every cached prefix, and goes on. Loaded only when `VLLM_PLUGINS` names it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class InPlace:
    """See `vllm.plugins.endpoint_plugins.interface.EndpointPlugin`."""

    name = "ketools"
    required_tasks: Any = ("generate",)

    def attach_router(self, app: Any) -> None:
        """Register the route."""
        from fastapi import Request
        from fastapi.responses import JSONResponse

        async def in_place(request: Request) -> JSONResponse:
            file = str((await request.json()).get("file", ""))
            if file and not _in_store(file):
                return JSONResponse({"error": {"message": "the file is not in the adapter store"}}, 400)
            engine = request.app.state.engine_client
            await engine.pause_generation(mode="wait", clear_cache=True)
            try:
                results = await engine.collective_rpc(method="ketools_in_place", args=(file,))
                await engine.reset_prefix_cache()
            finally:
                await engine.resume_generation()
            return JSONResponse({"results": results})

        # FastAPI reads the annotations, which the future import has turned into text.
        in_place.__annotations__ = {"request": Request, "return": JSONResponse}
        app.add_api_route("/ketools/in_place", in_place, methods=["POST"])

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        """Nothing to prepare."""


def _in_store(file: str) -> bool:
    root = os.environ.get("KETOOLS_ADAPTERS")
    return bool(root) and Path(file).resolve().is_relative_to(Path(str(root)).resolve())
