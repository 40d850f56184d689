"""What an agent is told about the tools: server instructions and prompts, about no other tools than it has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS
from pydantic import Field, ValidationError

from ketools.core.errors import InvalidRequest, KetoolsError, NotFound
from ketools.servers.callers import Caller
from ketools.tools.schemas import explain
from ketools.tools.toolsets import PURPOSES

LONGEST = 2048
"""The most characters of instructions that clients pass on to their models."""

_EDITING = """\
ketools changes what the served model itself knows. Nothing is retrieved at question time once an edit is in \
the weights; every edit is verified on the serving engine, scoped to a space, journalled and can be undone.
"""
_READING = """\
ketools shows what the served model knows and what was edited in it. This server only reads: nothing here changes \
the model; tell a user who wants a change so.
"""
_WHEN = {
    "edit_fact": "The user corrects the model or tells it a fact to keep: edit_fact, per fact, with three rephrases.",
    "erase_fact": "The user wants something private forgotten: erase_fact.",
    "edit_personality": "The user wants another tone on a topic: edit_personality.",
    "ask": "To see what the served model says: ask.",
    "list_edits": "To see what was edited, and ids: list_edits.",
}
_HOW = {
    "edit_fact": (
        "prompt names the subject and stops where the answer follows: subject 'France', prompt 'The capital of "
        "France is', target_new 'Lyon'.\n"
        "- Read `verified`. If it is false or the status is refused, tell the user that the model has not learned it, "
        "and follow `next`."
    ),
    "undo_edit": "undo_edit takes any edit back exactly.",
    "erase_fact": (
        "Erasing needs the user's consent: the client asks, or call with dry_run=true and pass confirm_token back."
    ),
    "fork_space": "dry_run=true tries an edit without keeping it; fork_space and compare_spaces try more.",
}
_ORDINARY = "- An ordinary question, remark or opinion: no tool that changes anything.\n"
_SPACES = """\
- space says whose knowledge: the caller's own when left out (the result tells which), session/ID for this \
conversation, user/NAME for one person, global for everyone, only when the user asks for everyone.
"""
_RESOURCES = "- The resource edits://SPACE lists what is live, e.g. edits://user/alice.\n"


def instructions(tools: Collection[str], read_only: bool) -> str:
    """What a client tells its model about the server, given the names of the tools that are listed."""
    when = [f"- {text}\n" for name, text in _WHEN.items() if name in tools]
    how = [f"- {text}\n" for name, text in _HOW.items() if name in tools]
    sets = "; ".join(f"{name} ({purpose})" for name, purpose in PURPOSES.items())
    parts = [
        _READING if read_only else _EDITING,
        "\nWhen to call what\n",
        *when,
        "" if read_only else _ORDINARY,
        "\nHow\n",
        *how,
        _SPACES,
        _RESOURCES,
        f"- Tool sets, listed by `--toolsets` or a token's scopes: {sets}.\n",
    ]
    return "".join(parts)


_CORRECTION = """\
The user said: {message}

Decide whether this corrects or adds a fact. If it does, call edit_fact once per fact in the space {space}: \
`subject` as written in the prompt, `prompt` a sentence that names the subject and stops before the answer, \
`target_new` the answer alone, `rephrases` three other ways to ask. Then read `verified`: if true, say in one \
sentence what the model now says (`after`); if not, say that it was not learned and why (`reason`). If it is no \
fact, just answer."""

_FORGET = """\
The user said: {message}

If this asks for something to be forgotten, call erase_fact in the space {space} with dry_run=true, tell the \
user which question will be answered with "I don't know.", and erase only after they agree. Never repeat the \
private value in your own words, neither before nor after."""

_REVIEW = """\
Look at what was edited in {space}: call list_edits with response_format='detailed', then {check}. Report which \
edits hold, which do not, and which disagree with each other. {end}"""
_REMEASURE = "evaluate_edit for each live edit that has no evidence or a success below 1"
_ASK_AGAIN = "ask the question of each live edit in the same space"
_PROPOSE = "Propose undo_edit for those that fail; change nothing before the user agrees."
_REPORT = "Change nothing: this server only reads."

Message = Annotated[str, Field(description="What the user said.", max_length=4000)]
SpaceArgument = Annotated[str, Field(description="Whose knowledge; default the caller's own.", max_length=120)]


@dataclass(frozen=True)
class Prompts:
    """The prompts of one server. `tools`: the names of those that are served."""

    tools: Collection[str]
    whoami: Caller

    def add(self, server: MCPServer) -> None:
        """Register the prompts whose tools are served."""
        for needed, title, prompt in (
            ("edit_fact", "Handle a correction", self.handle_correction),
            ("erase_fact", "Handle a wish to be forgotten", self.handle_forgetting),
            ("list_edits", "Review a space", self.review_space),
        ):
            if needed in self.tools:
                server.prompt(title=title)(prompt)
        server.middleware.append(PromptErrors(server))

    def handle_correction(self, message: Message, ctx: Context[Any, Any], space: SpaceArgument = "") -> str:
        """What to do when a user may have corrected the model."""
        return _CORRECTION.format(message=message, space=space.strip() or self.whoami(ctx).home)

    def handle_forgetting(self, message: Message, ctx: Context[Any, Any], space: SpaceArgument = "") -> str:
        """What to do when a user asks for something to be forgotten."""
        return _FORGET.format(message=message, space=space.strip() or self.whoami(ctx).home)

    def review_space(self, ctx: Context[Any, Any], space: SpaceArgument = "") -> str:
        """How to check that the edits of a space still hold."""
        check = _REMEASURE if "evaluate_edit" in self.tools else _ASK_AGAIN
        end = _PROPOSE if "undo_edit" in self.tools else _REPORT
        return _REVIEW.format(space=space.strip() or self.whoami(ctx).home, check=check, end=end)


@dataclass(frozen=True)
class PromptErrors:
    """Tells what is wrong with a request for a prompt as invalid parameters (-32602), before the SDK fails on it."""

    server: MCPServer

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Check `prompts/get`; pass everything else on."""
        if ctx.method != "prompts/get":
            return await call_next(ctx)
        try:
            await self._check(ctx.params or {})
            return await call_next(ctx)
        except KetoolsError as error:
            raise MCPError(code=INVALID_PARAMS, message=str(error)) from None
        except ValueError as error:
            cause = error.__cause__.__cause__ if error.__cause__ else None
            if isinstance(cause, KetoolsError | ValidationError):
                told = explain(cause) if isinstance(cause, ValidationError) else str(cause)
                raise MCPError(code=INVALID_PARAMS, message=told) from None
            raise

    async def _check(self, params: Mapping[str, Any]) -> None:
        """Raises `InvalidRequest` for an unknown prompt, and for arguments that it needs or does not know."""
        prompts = {prompt.name: prompt for prompt in await self.server.list_prompts()}
        name, given = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(given, Mapping):
            return  # the SDK refuses it
        if name not in prompts:
            raise NotFound("prompt", name, prompts)
        known = {argument.name: bool(argument.required) for argument in prompts[name].arguments or ()}
        missing = [argument for argument, required in known.items() if required and not given.get(argument)]
        unknown = [argument for argument in given if argument not in known]
        if missing:
            raise InvalidRequest(f"The prompt {name} needs {', '.join(missing)}. Give it and ask again.")
        if unknown:
            raise InvalidRequest(f"The prompt {name} takes {', '.join(known)}, not {', '.join(unknown)}.")
