"""The MCP server: the tools of `ketools.tools` on stdio and streamable HTTP, in both protocol eras."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from mcp.server import MCPServer
from mcp.server.auth.provider import TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from pydantic import AnyHttpUrl

import ketools
from ketools.core.principals import OPERATOR, Principal
from ketools.servers.announcing import Announcing
from ketools.servers.binding import bind
from ketools.servers.callers import whoami_of
from ketools.servers.confirm import ConfirmTokens
from ketools.servers.guide import Prompts, instructions
from ketools.servers.lanes import Lanes
from ketools.servers.resources import OwnSpacesOnly, Resources, add_resources, updated_uris
from ketools.servers.taking_back import TakingBack
from ketools.tools.choosing import select
from ketools.tools.toolsets import chosen_sets

if TYPE_CHECKING:
    from ketools.service.service import EditService


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
        tools=[bind(tool, service, whoami, confirm, updated_uris, lanes) for tool in served.values()],
        token_verifier=verifier,
        auth=_auth(url) if verifier else None,
        middleware=[
            TakingBack(),
            OwnSpacesOnly(whoami),
            Resources(service, whoami, lanes),
            Announcing(served, sets, verifier is not None, whoami),
            StartOnceListed(service),
        ],
        log_level="WARNING",  # INFO would log the text of tool errors, which may quote what was erased
    )
    Prompts(served, whoami).add(server)
    add_resources(server, service, whoami, lanes)
    return server


def _auth(url: str) -> AuthSettings:
    return AuthSettings(issuer_url=AnyHttpUrl(url), resource_server_url=None)


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
