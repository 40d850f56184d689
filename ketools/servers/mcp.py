"""The MCP server: the tools of `ketools.tools` on stdio and streamable HTTP, in both protocol eras."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
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
from ketools.core.principals import OPERATOR, Principal, Scope, principal
from ketools.servers.binding import Caller, bind
from ketools.servers.confirm import ConfirmTokens
from ketools.servers.guide import INSTRUCTIONS, add_prompts
from ketools.servers.tokens import TokenFile
from ketools.tools.schemas import get_tool
from ketools.tools.toolbox import Tool, Toolbox, tools

if TYPE_CHECKING:
    from ketools.service.service import EditService

EDITS = UriTemplate.parse("edits://{space}")


class FileTokens(TokenVerifier):
    """Verifies bearer tokens against a token file."""

    def __init__(self, file: TokenFile) -> None:
        self.file = file

    async def verify_token(self, token: str) -> AccessToken | None:
        """The token's owner, scopes and spaces, or None."""
        record = self.file.find(token)
        if record is None:
            return None
        return AccessToken(
            token=token,
            client_id=record.name,
            subject=record.name,
            scopes=[str(scope) for scope in record.scopes],
            claims={"spaces": list(record.spaces)},
        )


class Choice(TypedDict, total=False):
    """Which tools to serve: `names` (all), without `exclude`, only reading ones when `read_only`."""

    names: Collection[str] | None
    exclude: Collection[str]
    read_only: bool


def select(
    names: Collection[str] | None = None, exclude: Collection[str] = (), read_only: bool = False
) -> tuple[Tool, ...]:
    """The tools to serve. Raises `NotFound` for a name that is no tool."""
    for name in [*(names or ()), *exclude]:
        get_tool(name)
    return tuple(
        tool
        for tool in tools()
        if (names is None or tool.name in names) and tool.name not in exclude and (tool.read_only or not read_only)
    )


def reader(caller: Principal) -> Principal:
    """The same caller with nothing but the right to read what it could read before."""
    spaces = ("**",) if Scope.ADMIN in caller.scopes else caller.spaces
    return dataclasses.replace(caller, scopes=frozenset({Scope.READ}), spaces=spaces)


def token_principal(context: Context[Any, Any]) -> Principal | None:
    """The principal of this very message's bearer token, not of the connection that carries it."""
    request = context.request_context.request
    user = request.scope.get("user") if request is not None else None
    token = user.access_token if isinstance(user, AuthenticatedUser) else get_access_token()
    if token is None:
        return None
    return principal(token.subject or token.client_id, token.scopes, (token.claims or {}).get("spaces", ()))


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
    `read_only` server also takes every other right from its callers. Raises `NotFound` for an unknown tool.
    """
    whoami = _whoami(None if verifier else caller, choice.get("read_only", False))
    confirm = None if allow_erase else ConfirmTokens()
    chosen = select(**choice)
    server = MCPServer(
        "ketools",
        title="ketools",
        description="Edit what the served model knows: verified, scoped, undoable.",
        instructions=INSTRUCTIONS,
        version=ketools.__version__,
        tools=[bind(tool, service, whoami, confirm, updated_uri) for tool in chosen],
        token_verifier=verifier,
        auth=_auth(url) if verifier else None,
        middleware=[OwnSpacesOnly(whoami), StartOnceListed(service)],
        log_level="WARNING",  # INFO would log the text of tool errors, which may quote what was erased
    )
    add_prompts(server)
    _add_resources(server, service, whoami)
    return server


def _auth(url: str) -> AuthSettings:
    return AuthSettings(issuer_url=AnyHttpUrl(url), resource_server_url=None)


def _whoami(fixed: Principal | None, read_only: bool) -> Caller:
    def whoami(context: Context[Any, Any]) -> Principal:
        found = fixed or token_principal(context)
        if found is None:
            raise KetoolsError("This call carries no bearer token; ask the operator for one.")
        return reader(found) if read_only else found

    return whoami


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


def _add_resources(server: MCPServer, service: EditService, whoami: Caller) -> None:
    @server.resource(str(EDITS), title="Live edits of a space", mime_type="application/json")
    async def edits(space: str, ctx: Context[Any, Any]) -> str:
        """What is live in a space, newest first. Encode slashes: edits://user%2Falice."""

        def read() -> str:
            page = Toolbox(service, whoami(ctx)).list_edits(space, limit=200)
            return json.dumps(page.model_dump(mode="json"))

        try:
            return await anyio.to_thread.run_sync(read)
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except KetoolsError as error:
            raise ResourceError(error.told()) from error
