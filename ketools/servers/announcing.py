"""Which tools each caller is told of, and in which form.

A tool set saves tokens and protects nothing: a tool that is served may be called by its name even when it is not
listed. What may not be called is not served (`--tools`, `--exclude-tools`, `--read-only`) or lacks a scope.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context

from ketools.core.principals import Principal, Scope
from ketools.servers.callers import Caller
from ketools.tools.toolbox import Tool
from ketools.tools.toolsets import EVERY, ToolSet

NAMELESS = ("", "mcp")
"""Clients that do not say who they are, or only that they use the Python SDK, as google-genai's do."""
WITHOUT_CLOSED_OBJECTS = ("google", "gemini")
"""Parts of the names of clients whose conversion fails on `additionalProperties: false`."""
SET_SCOPES = {Scope.SPACES: ToolSet.SPACES, Scope.LAB: ToolSet.LAB, Scope.ADMIN: ToolSet.ADMIN}


def shown_sets(chosen: Collection[ToolSet], who: Principal, by_token: bool) -> Collection[ToolSet]:
    """The server's tool sets and those that a token's scopes switch on; `admin` switches on all."""
    if not by_token:
        return chosen
    if Scope.ADMIN in who.scopes:
        return EVERY
    return {*chosen, *(SET_SCOPES[scope] for scope in who.scopes if scope in SET_SCOPES)}


def takes_closed_objects(client: str) -> bool:
    """Whether a client of that name takes `additionalProperties: false`; validation refuses extra fields for all."""
    name = client.lower()
    return name not in NAMELESS and not any(part in name for part in WITHOUT_CLOSED_OBJECTS)


def open_objects(schema: Any) -> Any:
    """The schema without the keyword `additionalProperties`, at every depth."""
    if isinstance(schema, Mapping):
        return {key: open_objects(value) for key, value in schema.items() if key != "additionalProperties"}
    return [open_objects(one) for one in schema] if isinstance(schema, list) else schema


@dataclass(frozen=True)
class Announcing:
    """Lists the tools that a caller is to see.

    `tools`: all that are served. `sets`: whose tools are listed; None: every one. `by_token`: callers have tokens.
    """

    tools: Mapping[str, Tool]
    sets: Collection[ToolSet] | None
    by_token: bool
    whoami: Caller

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Filter the answer to `tools/list`; pass everything else on."""
        result = await call_next(ctx)
        if ctx.method != "tools/list" or not isinstance(result, dict):
            return result
        who = self.whoami(Context(request_context=ctx))
        params = ctx.session.client_params
        client = params.client_info.name if params is not None else ""
        listed = [tool for tool in result["tools"] if self._shown(who, self.tools[tool["name"]])]
        if not takes_closed_objects(client):
            listed = [{**tool, "inputSchema": open_objects(tool["inputSchema"])} for tool in listed]
        return {**result, "tools": listed}

    def _shown(self, who: Principal, tool: Tool) -> bool:
        sets = EVERY if self.sets is None else shown_sets(self.sets, who, self.by_token)
        return tool.toolset in sets and who.may(tool.scope)
