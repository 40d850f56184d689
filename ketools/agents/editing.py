"""An agent that notices a correction in conversation and calls the tool for it.

The language model decides; the agent only runs what it asks for. Any LangChain chat model with tool calling
works, and any LangChain tools: the native toolkit's, or those of an MCP session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import ToolCall
from langchain_core.tools import BaseTool

EDITING_TOOLS = ("edit_fact", "erase_fact", "edit_personality")
HISTORY = 8
NOTED = "Done."
"""What the history keeps of a turn with tool calls: ids and numbers would only distract a language model."""


@dataclass(frozen=True)
class Turn:
    """One exchange: what was said, which tools were called, what they returned."""

    said: str
    answer: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolMessage, ...] = ()


@dataclass
class EditingAgent:
    """A conversation in one space.

    `reply(question)` answers ordinary turns, as the served model of the space; None lets the agent's own
    language model answer. The space is set here, since a language model must not choose it; None: the caller's own.
    """

    llm: BaseChatModel
    tools: Sequence[BaseTool]
    space: str | None = None
    reply: Callable[[str], Awaitable[str]] | None = None
    history: list[BaseMessage] = field(default_factory=list)

    async def say(self, text: str) -> Turn:
        """Take one user turn; runs at most the tool calls of one model answer."""
        tools = {t.name: t for t in self.tools if t.name in EDITING_TOOLS}
        planner = self.llm.bind_tools(list(tools.values()))
        user = HumanMessage(text)
        planned = await planner.ainvoke([*self.history[-HISTORY:], user])
        if not isinstance(planned, AIMessage) or not planned.tool_calls:
            answer = await self.reply(text) if self.reply else str(planned.content)
            self.history += [user, AIMessage(answer)]
            return Turn(text, answer)
        results = [await self._run(tools, call) for call in planned.tool_calls]
        answer = "\n".join(str(r.content) for r in results)
        self.history += [user, AIMessage(NOTED)]
        return Turn(text, answer, tuple(planned.tool_calls), tuple(results))

    async def _run(self, tools: dict[str, BaseTool], call: ToolCall) -> ToolMessage:
        tool = tools.get(call["name"])
        if tool is None:
            text = f"There is no tool named {call['name']!r}. Known: {', '.join(tools)}."
            return ToolMessage(text, tool_call_id=call["id"] or "", status="error")
        arguments: dict[str, Any] = {**call["args"], "space": self.space}
        result = await tool.ainvoke({**call, "type": "tool_call", "args": arguments})
        return result if isinstance(result, ToolMessage) else ToolMessage(str(result), tool_call_id=call["id"] or "")
