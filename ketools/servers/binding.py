"""Binds one tool to the MCP SDK: worker thread, progress, cancellation, confirmation, errors."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.from_thread
from mcp.server.elicitation import AcceptedElicitation
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, Resolve, build_resolver_plans
from mcp.server.mcpserver.tools import Tool as SdkTool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import Field, ValidationError, create_model

from ketools.core.errors import ApprovalNeeded, Cancelled, KetoolsError
from ketools.core.principals import Presence, Principal
from ketools.core.results import EditResult, JobView, Result
from ketools.servers.callers import Caller, can_ask
from ketools.servers.confirm import HOW, Approve, Confirm, ConfirmTokens, Unattended, approval, question
from ketools.servers.lanes import Lanes
from ketools.servers.taking_back import ongoing
from ketools.tools.calling import Reply, call, replied
from ketools.tools.schemas import (
    explain,
    field,
    get_tool,
    hints,
    input_model,
    input_schema,
    output_model,
    output_schema,
)
from ketools.tools.toolbox import Tool, Toolbox

if TYPE_CHECKING:
    from ketools.service.service import EditService

INTERVAL = 0.1
"""Seconds between two progress messages to the client."""

WAIT = "wait"
"""The argument by which a caller asks a tool that begins a job to answer at the job's end."""
WAIT_S = 0.2

ConfirmToken = Annotated[str | None, Field(description="From a dry run of the same call.", max_length=80)]


@dataclass
class ThreadProgress:
    """Reports progress from a worker thread and notices there that the client has cancelled."""

    context: Context[Any, Any]
    _last: float = 0.0

    def __call__(self, done: int, total: int, message: str) -> None:
        try:
            anyio.from_thread.check_cancelled()
            if ongoing().gone:
                raise asyncio.CancelledError
            if done >= total or time.monotonic() - self._last >= INTERVAL:
                self._last = time.monotonic()
                anyio.from_thread.run(self.context.report_progress, done, total, message)
        except asyncio.CancelledError:
            raise Cancelled("The call was cancelled; nothing was committed.") from None


class CheckedTool(SdkTool):
    """An SDK tool whose argument errors name the field and do not repeat the rejected value."""

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        """Run the tool; see the SDK's `Tool.run`."""
        try:
            self.fn_metadata.validate_arguments(arguments)
        except ValidationError as error:
            raise ToolError(f"{self.name}: {explain(error)}") from None
        return await super().run(arguments, context, convert_result)


@dataclass(frozen=True)
class Call:
    """One tool over one service, as the SDK calls it."""

    tool: Tool
    service: EditService
    whoami: Caller
    uris: Callable[[str], Sequence[str]]
    lanes: Lanes

    async def __call__(self, context: Context[Any, Any], **arguments: Any) -> CallToolResult:
        """Run in its lane, then tell who listens to the space."""
        return as_call_result(await self.reply(context, arguments))

    async def reply(self, context: Context[Any, Any], arguments: Mapping[str, Any], attended: bool = False) -> Reply:
        """The tool's reply. Raises `ToolError` with the text of any error that ketools raises on purpose.

        `attended`: whether the user of the client has just said yes to this very call.
        """
        try:
            return await self.attempt(context, arguments, attended)
        except ApprovalNeeded as error:
            raise ToolError(error.told()) from error

    async def attempt(self, context: Context[Any, Any], arguments: Mapping[str, Any], attended: bool = False) -> Reply:
        """As `reply`, but raises `ApprovalNeeded` as it is."""
        try:
            who = self.whoami(context)
            if attended:
                who = dataclasses.replace(who, presence=Presence.PERSON, client=f"{who.client}, approved by its user")
            begun = {**arguments, WAIT: False} if WAIT in arguments else arguments
            reply = await self._run(context, who, self.tool, begun)
            if arguments.get(WAIT):
                reply = replied(self.tool, await self._ended(context, who, reply.result), arguments)
        except ValidationError as error:
            raise ToolError(explain(error)) from None
        except ApprovalNeeded:
            raise
        except KetoolsError as error:
            raise ToolError(error.told()) from error
        if not self.tool.read_only and not arguments.get("dry_run"):
            await self.notify(context, arguments, reply.result)
        return reply

    async def _run(self, context: Context[Any, Any], who: Principal, tool: Tool, arguments: Mapping[str, Any]) -> Reply:
        """Wait for a place in the tool's lane, and run in a thread there."""
        box = Toolbox(self.service, who, ThreadProgress(context))
        lane = self.lanes.quick if tool.quick else self.lanes.work

        async def waiting() -> None:
            await context.report_progress(0, 1, "waiting for other calls to end")

        def work() -> Reply:
            reply = call(tool, box, arguments)
            if not tool.read_only:
                ongoing().done(lambda: self.service.take_back(who, reply.result))
            return reply

        return await lane.run(who.name, work, waiting)

    async def _ended(self, context: Context[Any, Any], who: Principal, job: Result) -> Result:
        """The state of a job once it has ended, asked for now and then: waiting holds no thread."""
        while isinstance(job, JobView) and job.state in ("queued", "running"):
            await context.report_progress(job.progress, 1.0, job.message)
            await anyio.sleep(WAIT_S)
            job = (await self._run(context, who, get_tool("job_status"), {"job_id": job.job_id})).result
        return job

    async def notify(self, context: Context[Any, Any], arguments: Mapping[str, Any], result: Result) -> None:
        """Say that the space's resource has changed; the space is in the result or in the arguments."""
        space = getattr(result, "space", None) or arguments.get("name") or arguments.get("space")
        for uri in self.uris(space) if isinstance(space, str) else ():
            await context.notify_resource_updated(uri)


@dataclass(frozen=True)
class ConfirmedCall:
    """An erasing tool, behind a confirmation."""

    call: Call
    tokens: ConfirmTokens

    async def __call__(self, context: Context[Any, Any], confirmed: Any, **arguments: Any) -> CallToolResult:
        """Run only what was confirmed; a dry run returns the token that confirms it."""
        if not (isinstance(confirmed, AcceptedElicitation) and confirmed.data.erase):
            raise ToolError("The user did not confirm. Nothing was erased; do not try again unasked.")
        arguments.pop("confirm_token")
        attended = not isinstance(confirmed.data, Unattended)
        reply = await self.call.reply(context, arguments, attended)
        if arguments["dry_run"] and isinstance(reply.result, EditResult):
            token = self.tokens.make(self.call.whoami(context).name, arguments)
            hint = f"To erase it, call again with dry_run=false and confirm_token='{token}'."
            reply = replied(self.call.tool, reply.result.model_copy(update={"next": hint}), arguments)
        return as_call_result(reply)


@dataclass(frozen=True)
class ApprovedCall:
    """A changing tool: what the edit policy wants a person for is asked of the client's user where that can be."""

    call: Call

    async def __call__(self, context: Context[Any, Any], attempted: Any, **arguments: Any) -> CallToolResult:
        """Tell what was done, or do what was approved."""
        found = isinstance(attempted, AcceptedElicitation) and attempted.data
        if isinstance(found, Reply):
            return as_call_result(found)
        if not (found and found.approve):
            raise ToolError("The user did not approve it. Nothing was changed; do not try again unasked.")
        return as_call_result(await self.call.reply(context, arguments, attended=True))


class Attempt:
    """Resolves an approval: the reply of a call that needs none, else the question for the user."""

    def __init__(self, call: Call, names: Iterable[str]) -> None:
        self.call = call
        named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in ("context", *names)]
        self.__signature__ = inspect.Signature(named)
        """By which the SDK knows that this takes the tool's own arguments."""

    async def __call__(self, context: Context[Any, Any], **arguments: Any) -> Reply | Elicit[Approve]:
        """Called by the SDK with the call's own arguments; again after the question, which then has its answer."""
        try:
            return await self.call.attempt(context, arguments)
        except ApprovalNeeded as error:
            if not can_ask(context):
                raise ToolError(error.told()) from error
            return approval(error.change, error.because)


@dataclass(frozen=True)
class Ask:
    """Resolves the confirmation: not needed, given by token, or asked from the person."""

    whoami: Caller
    tokens: ConfirmTokens

    async def __call__(
        self,
        context: Context[Any, Any],
        subject: str,
        prompt: str,
        space: str | None,
        method: str,
        rephrases: Any,
        dry_run: bool,
        confirm_token: str | None,
    ) -> Confirm | Elicit[Confirm]:
        """Called by the SDK with the call's own arguments."""
        if dry_run:
            return Unattended()
        given = {
            "subject": subject,
            "prompt": prompt,
            "space": space,
            "method": method,
            "rephrases": rephrases,
        }
        if confirm_token is not None:
            if not self.tokens.good(confirm_token, self.whoami(context).name, given):
                raise ToolError("confirm_token has expired or belongs to other arguments. " + HOW)
            return Unattended()
        if not can_ask(context):
            raise ToolError(HOW)
        return question(subject, prompt, space or self.whoami(context).home)


def as_call_result(reply: Reply) -> CallToolResult:
    """A text for the agent to read, the fields for programs."""
    return CallToolResult(
        content=[TextContent(type="text", text=reply.text)],
        structured_content=reply.result.model_dump(mode="json"),
    )


class Metadata(FuncMetadata):
    """The SDK's view of a tool, whose arguments are read by the tool's own model alone."""

    def pre_parse_json(self, data: dict[str, Any]) -> dict[str, Any]:
        """The arguments as they came."""
        return dict(data)


def _metadata(tool: Tool, **extra: Any) -> FuncMetadata:
    arguments = input_model(tool)
    model = create_model(arguments.__name__, __base__=(arguments, ArgModelBase), **extra)
    result = output_model(tool)
    return Metadata(arg_model=model, output_schema=output_schema(result), output_model=result)


def bind(
    tool: Tool,
    service: EditService,
    whoami: Caller,
    tokens: ConfirmTokens | None,
    uris: Callable[[str], Sequence[str]],
    lanes: Lanes,
) -> SdkTool:
    """The tool as the SDK registers it. A destructive erasure is confirmed unless `tokens` is None."""
    call = Call(tool, service, whoami, uris, lanes)
    if tokens is not None and tool.name == "erase_fact":
        metadata = _metadata(tool, confirm_token=field(ConfirmToken, None))
        resolved: dict[str, Any] = {"confirmed": (Resolve(Ask(whoami, tokens)), True)}
        plans = build_resolver_plans(resolved, set(metadata.arg_model.model_fields))
        return _sdk_tool(tool, ConfirmedCall(call, tokens), metadata, resolved, plans)
    metadata = _metadata(tool)
    if tool.read_only:
        return _sdk_tool(tool, call, metadata, {}, {})
    names = set(metadata.arg_model.model_fields)
    resolved = {"attempted": (Resolve(Attempt(call, names)), True)}
    return _sdk_tool(tool, ApprovedCall(call), metadata, resolved, build_resolver_plans(resolved, names))


def _sdk_tool(
    tool: Tool, call: Any, metadata: FuncMetadata, resolved: dict[str, Any], plans: dict[Any, Any]
) -> SdkTool:
    return CheckedTool(
        fn=call,
        name=tool.name,
        title=tool.title,
        description=tool.description,
        parameters=input_schema(metadata.arg_model),
        fn_metadata=metadata,
        is_async=True,
        context_kwarg="context",
        resolved_params=resolved,
        resolver_plans=plans,
        annotations=ToolAnnotations.model_validate(hints(tool)),
    )
