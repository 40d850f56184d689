"""The MCP server: the tools of `ketools.tools` on stdio and streamable HTTP, in both protocol eras."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import anyio.lowlevel
from mcp.server import MCPServer
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate
from mcp.types import INVALID_PARAMS
from pydantic import AnyHttpUrl

import ketools
from ketools.core.errors import KetoolsError, NotFound
from ketools.core.principals import OPERATOR, Principal, Scope
from ketools.servers.announcing import Announcing
from ketools.servers.binding import bind
from ketools.servers.callers import Caller, whoami_of
from ketools.servers.confirm import ConfirmTokens
from ketools.servers.guide import Prompts, instructions
from ketools.servers.lanes import Lanes
from ketools.tools.choosing import select
from ketools.tools.toolbox import Toolbox
from ketools.tools.toolsets import chosen_sets

if TYPE_CHECKING:
    from ketools.service.service import EditService

EDITS = UriTemplate.parse("edits://{space}")


class Choice(TypedDict, total=False):
    """Which tools to serve: those of `toolsets` (the default ones), or `names`; without `exclude`, only reading ones
    when `read_only`.
    """

    names: Collection[str] | None
    exclude: Collection[str]
    read_only: bool
    toolsets: Sequence[str] | None


def served_by(choice: Choice) -> Choice:
    """The choice of what may be called: tools of every set, unless it names tools."""
    return choice if choice.get("names") is not None else {**choice, "toolsets": ["all"]}


def build_server(
    service: EditService,
    *,
    caller: Principal | None = OPERATOR,
    verifier: TokenVerifier | None = None,
    url: str = "http://127.0.0.1:8000",
    allow_erase: bool = False,
    **choice: Unpack[Choice],
) -> MCPServer:
    """An MCP server over a service.

    `caller`: who everything is done for (stdio, in-process). `verifier`: takes its place on HTTP, where each
    message carries a bearer token. `allow_erase`: erase without asking. For the rest see `Choice`: a
    `read_only` server also takes every other right from its callers. Raises `NotFound` for an unknown tool or set.
    """
    whoami = whoami_of(None if verifier else caller, choice.get("read_only", False))
    confirm = None if allow_erase else ConfirmTokens()
    served = {tool.name: tool for tool in select(**served_by(choice))}
    sets = None if choice.get("names") is not None else chosen_sets(choice.get("toolsets"))
    lanes = Lanes.of(service.settings)
    server = MCPServer(
        "ketools",
        title="ketools",
        description="Edit what the served model knows: verified, scoped, undoable.",
        instructions=instructions(
            [name for name, tool in served.items() if sets is None or tool.toolset in sets],
            choice.get("read_only", False),
        ),
        version=ketools.__version__,
        tools=[bind(tool, service, whoami, confirm, updated_uri, lanes) for tool in served.values()],
        token_verifier=verifier,
        auth=_auth(url) if verifier else None,
        middleware=[
            OwnSpacesOnly(whoami),
            Announcing(served, sets, verifier is not None, whoami),
            StartOnceListed(service),
        ],
        log_level="WARNING",  # INFO would log the text of tool errors, which may quote what was erased
    )
    Prompts(served, whoami).add(server)
    _add_resources(server, service, whoami, lanes)
    return server


def _auth(url: str) -> AuthSettings:
    return AuthSettings(issuer_url=AnyHttpUrl(url), resource_server_url=None)


def updated_uri(space: str) -> str:
    """The URI of the resource that lists a space's edits; slashes of the space are encoded."""
    return EDITS.expand({"space": space})


@dataclasses.dataclass(frozen=True)
class OwnSpacesOnly:
    """Refuses to tell a caller when a space that it may not read has changed."""

    whoami: Caller

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Check the resources that a client wants to listen to; pass everything else on."""
        if ctx.method == "subscriptions/listen":
            who = self.whoami(Context(request_context=ctx))
            for uri in _listened(ctx.params):
                matched = EDITS.match(uri) or {}
                try:
                    who.require(Scope.READ, str(matched.get("space", "")))
                except KetoolsError as error:
                    raise MCPError(code=INVALID_PARAMS, message=str(error)) from None
        return await call_next(ctx)


START_AFTER_S = 0.2
"""From the answer to a client's `tools/list` until the engine starts: loading it would slow the answer down."""


@dataclasses.dataclass(frozen=True)
class StartOnceListed:
    """Opens the engine in the background once a client has listed the tools, so that the first call waits less."""

    service: EditService

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass everything on."""
        result = await call_next(ctx)
        if ctx.method == "tools/list" and not self.service.backend.starter.started:
            asyncio.get_running_loop().call_later(START_AFTER_S, self.service.start)
        return result


def _listened(params: Any) -> list[str]:
    """The resource URIs of a raw `subscriptions/listen` request; malformed ones are the SDK's to refuse."""
    wanted = params.get("notifications") if isinstance(params, Mapping) else None
    uris = wanted.get("resourceSubscriptions") if isinstance(wanted, Mapping) else None
    return [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []


def _add_resources(server: MCPServer, service: EditService, whoami: Caller, lanes: Lanes) -> None:
    @server.resource(str(EDITS), title="Live edits of a space", mime_type="application/json")
    async def edits(space: str, ctx: Context[Any, Any]) -> str:
        """What is live in a space, newest first. Encode slashes: edits://user%2Falice."""

        who = whoami(ctx)

        def read() -> str:
            page = Toolbox(service, who).list_edits(space, limit=200)
            return json.dumps(page.model_dump(mode="json"))

        try:
            return await lanes.quick.run(who.name, read, anyio.lowlevel.checkpoint)
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except KetoolsError as error:
            raise ResourceError(error.told()) from error
