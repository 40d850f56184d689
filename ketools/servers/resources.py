"""What MCP clients read without a tool: the live edits of spaces and single edits; listed, completed, listened to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from mcp.shared.uri_template import UriTemplate
from mcp.types import INVALID_PARAMS, CompleteRequestParams, Completion
from pydantic import ValidationError

from ketools.core.errors import Forbidden, InvalidRequest, KetoolsError, NotFound
from ketools.core.principals import Principal, Scope
from ketools.core.results import Result
from ketools.servers.callers import Caller
from ketools.servers.lanes import Lanes
from ketools.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from ketools.service.service import EditService

EDITS, EDIT = UriTemplate.parse("edits://{+space}"), UriTemplate.parse("edit://{edit_id}")
ENCODED = UriTemplate.parse("edits://{space}")
PAGE = 200
"""How many spaces one page of the list holds; a cursor leads to the next."""
COMPLETIONS = 100
"""The most values that a completion may have by the protocol."""
JSON = "application/json"
TITLE = "Live edits of a space"


def updated_uris(space: str) -> Sequence[str]:
    """The addresses of the resource that lists a space's edits: natural, and with its slashes encoded."""
    return tuple(dict.fromkeys(template.expand({"space": space}) for template in (EDITS, ENCODED)))


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Resources:
    """Lists the spaces that a caller may read, and completes their names and the ids of what is live in them."""

    service: EditService
    whoami: Caller
    lanes: Lanes

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Fill the answers to `resources/list` and `completion/complete`; pass everything else on."""
        result = await call_next(ctx)
        if ctx.method == "resources/list" and isinstance(result, dict):
            names = await self._in_thread(ctx, self._spaces)
            return {**result, **_page(names, (ctx.params or {}).get("cursor"))}
        if ctx.method == "completion/complete" and isinstance(result, dict):
            with suppress(ValidationError):  # the SDK has refused it
                given = CompleteRequestParams.model_validate(ctx.params)
                return {**result, "completion": await self._completion(ctx, given)}
        return result

    async def _completion(self, ctx: ServerRequestContext[Any, Any], given: CompleteRequestParams) -> dict[str, Any]:
        known = {"space": self._spaces, "edit_id": self._edits}.get(given.argument.name)
        names = await self._in_thread(ctx, known) if known is not None else []
        fitting = [name for name in names if name.startswith(given.argument.value.strip())]
        more = len(fitting) > COMPLETIONS
        return {"values": fitting[:COMPLETIONS], "total": len(fitting), "hasMore": more}

    async def _in_thread(
        self, ctx: ServerRequestContext[Any, Any], read: Callable[[Principal], list[str]]
    ) -> list[str]:
        who = self.whoami(Context(request_context=ctx))
        try:
            return await self.lanes.quick.run(who.name, lambda: read(who), anyio.lowlevel.checkpoint)
        except KetoolsError as error:
            raise MCPError(code=INVALID_PARAMS, message=error.told()) from None

    def _spaces(self, who: Principal) -> list[str]:
        """The caller's own space, which may not have been made yet, and what else it reads."""
        who.require_scope(Scope.READ)
        own = []
        with suppress(Forbidden):
            own = [who.home]
        return list(dict.fromkeys([*own, *self._made(who)]))

    def _made(self, who: Principal) -> list[str]:
        return [space.name for space in self.service.journal.spaces() if who.reads(space.name)]

    def _edits(self, who: Principal) -> list[str]:
        """What is live where the caller reads, newest first."""
        who.require_scope(Scope.READ)
        heads = self.service.journal.heads(self._made(who))
        return sorted({edit_id for head in heads for edit_id in head.live}, reverse=True)


def add_resources(server: MCPServer, service: EditService, whoami: Caller, lanes: Lanes) -> None:
    """Register the resources, and that arguments can be completed (see `Resources`)."""

    async def reading(ctx: Context[Any, Any], read: Callable[[Toolbox], Result]) -> str:
        who = whoami(ctx)
        try:
            box = Toolbox(service, who)
            found = await lanes.quick.run(who.name, lambda: read(box), anyio.lowlevel.checkpoint)
        except NotFound as error:
            raise ResourceNotFoundError(str(error)) from error
        except (InvalidRequest, Forbidden) as error:
            raise MCPError(code=INVALID_PARAMS, message=error.told()) from error
        except KetoolsError as error:
            raise ResourceError(error.told()) from error
        return json.dumps(found.model_dump(mode="json"))

    @server.resource(str(EDITS), title=TITLE, mime_type=JSON)
    async def edits(space: str, ctx: Context[Any, Any]) -> str:
        """What is live in a space, newest first: edits://user/alice."""
        return await reading(ctx, lambda box: box.list_edits(space, limit=200))

    @server.resource(str(EDIT), title="An edit with its evidence", mime_type=JSON)
    async def edit(edit_id: str, ctx: Context[Any, Any]) -> str:
        """One edit with its evidence, by the id that tools tell."""
        return await reading(ctx, lambda box: box.show_edit(edit_id))

    @server.completion()  # type: ignore[no-untyped-call, untyped-decorator]
    async def complete(ref: object, argument: object, context: object) -> Completion | None:
        """Nothing: `Resources` completes, since only middleware is told who calls."""
        return None


def _page(names: Sequence[str], cursor: object) -> dict[str, Any]:
    """A page of the list of resources behind the cursor, which is the last name of the page before."""
    start = names.index(cursor) + 1 if isinstance(cursor, str) and cursor in names else 0
    page = names[start : start + PAGE]
    listed = [
        {"uri": EDITS.expand({"space": name}), "name": name, "title": f"{TITLE}: {name}", "mimeType": JSON}
        for name in page
    ]
    return {"resources": listed, **({"nextCursor": page[-1]} if start + PAGE < len(names) else {})}


def _listened(params: Any) -> list[str]:
    """The resource URIs of a raw `subscriptions/listen` request; malformed ones are the SDK's to refuse."""
    wanted = params.get("notifications") if isinstance(params, Mapping) else None
    uris = wanted.get("resourceSubscriptions") if isinstance(wanted, Mapping) else None
    return [uri for uri in uris if isinstance(uri, str)] if isinstance(uris, list) else []
