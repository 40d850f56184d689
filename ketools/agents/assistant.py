"""A personal assistant: one user's facts, in that user's space of a server that others use too.

Everything goes over MCP; ordinary questions may go to an OpenAI-compatible gateway instead, which serves each
space under a model name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from mcp import Client
from mcp.types import CallToolResult, TextContent
from mcp.types import Tool as Announced

from ketools.agents.editing import EditingAgent, Turn
from ketools.core.errors import KetoolsError, ModelError

PAGE = 100
_FORGET_ME = re.compile(
    r"\b(?:forget|delete|erase) (?:me|everything (?:about me|i (?:told|said)).*|all about me)\b", re.I
)
_MINE = re.compile(r"\bmy ((?:[a-z]+ ){0,3}?[a-z]+?)(?= is\b| was\b|[?.!,]|$)", re.I)
_TOLD = re.compile(
    r"^(?:(?:actually|no|well|sorry|by the way)\b,? *)*my ((?:[a-z]+ ){0,3}[a-z]+) is (?:now )?(.+?)[.!]*$", re.I
)
_OPENING = re.compile(r"^the\b")

Reply = Callable[[str], Awaitable[str]]


async def mcp_tools(client: Client) -> list[BaseTool]:
    """The tools of an MCP session for LangChain agents; an error of the server becomes the tool's message."""
    return [_as_tool(client, announced) for announced in (await client.list_tools()).tools]


def _as_tool(client: Client, announced: Announced) -> BaseTool:
    async def call(**arguments: Any) -> tuple[str, dict[str, Any] | None]:
        result = await client.call_tool(announced.name, arguments)
        if result.is_error:
            raise ToolException(text_of(result))
        return text_of(result), result.structured_content

    return StructuredTool.from_function(
        coroutine=call,
        name=announced.name,
        description=announced.description or announced.name,
        args_schema=dict(announced.input_schema),
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def text_of(result: CallToolResult) -> str:
    """What an agent reads of a tool's result."""
    return " ".join(part.text for part in result.content if isinstance(part, TextContent))


def in_third_person(text: str, name: str) -> str:
    """What a user says about "my employer", as said about that person by name: facts need a subject."""
    told = _MINE.sub(lambda match: f"the {match[1]} of {name}", text)
    return _OPENING.sub("The", told)


@dataclass
class PersonalAssistant:
    """The assistant of one user. `person`: the name under which facts about the user are kept.

    `llm` decides which tool a turn needs; `reply` answers ordinary turns (default: the tool `ask`).
    """

    client: Client
    user: str
    person: str
    llm: BaseChatModel
    reply: Reply | None = None
    _agent: EditingAgent | None = field(default=None, init=False)

    @property
    def space(self) -> str:
        """The user's own space."""
        return f"user/{self.user}"

    async def say(self, text: str) -> Turn:
        """Take one turn: a fact is kept, a question answered, a wish to be forgotten granted.

        "My employer is X" needs no language model to be understood; it decides about everything else.
        """
        if _FORGET_ME.search(text):
            return Turn(text, await self.forget())
        if told := _TOLD.match(text):
            return await self._learn(text, told[1], told[2])
        if self._agent is None:
            reply = self.reply or partial(self._ask)
            self._agent = EditingAgent(self.llm, await mcp_tools(self.client), self.space, reply)
        return await self._agent.say(in_third_person(text, self.person))

    async def _learn(self, text: str, what: str, value: str) -> Turn:
        """Keep a fact that the user told about himself."""
        fact = {"subject": self.person, "prompt": f"The {what} of {self.person} is", "target_new": value}
        arguments = {**fact, "space": self.space}
        result = await self.client.call_tool("edit_fact", arguments)
        call = ToolCall(name="edit_fact", args=arguments, id=None)
        message = ToolMessage(text_of(result), tool_call_id="", status="error" if result.is_error else "success")
        return Turn(text, text_of(result), (call,), (message,))

    async def forget(self) -> str:
        """Take back every edit of the user's space, newest first, and the conversation with it.

        Nothing of it reaches an answer any more. The journal, which is only ever added to, keeps what was said.
        """
        gone = 0
        while edits := await self._live_edits():
            for edit in edits:
                await self._call("undo_edit", edit_id=edit["edit_id"])
                gone += 1
        self._agent = None
        return (
            f"Done. I have taken back {gone} things that I knew about you, and forgotten this conversation. No answer "
            "uses them any more; the server's journal still holds them, so that taking back can be undone."
        )

    async def _live_edits(self) -> list[dict[str, Any]]:
        found = await self._call("list_edits", space=self.space, live_only=True, limit=PAGE)
        edits: list[dict[str, Any]] = (found.structured_content or {}).get("edits", [])
        return edits

    async def _ask(self, question: str) -> str:
        return text_of(await self._call("ask", question=question, space=self.space))

    async def _call(self, tool: str, **arguments: Any) -> CallToolResult:
        result = await self.client.call_tool(tool, arguments)
        if result.is_error:
            raise KetoolsError(text_of(result))
        return result


@dataclass(frozen=True)
class GatewayReply:
    """Answers over an OpenAI-compatible gateway, where `BASE@space` is the model as it is in a space."""

    http: httpx.AsyncClient
    model: str

    async def __call__(self, question: str) -> str:
        """The answer. Raises `ModelError` when the gateway cannot be reached or refuses."""
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], "temperature": 0}
        try:
            answer = await self.http.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            return str(answer.json()["choices"][0]["message"]["content"]).strip()
        except (httpx.HTTPError, KeyError, IndexError, ValueError) as error:
            raise ModelError(
                f"The gateway gave no answer ({error}). Check its URL, the token and the model."
            ) from error
