"""The tools for LangChain agents, and the served model as a LangChain chat model."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, cast
from uuid import uuid4

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
    convert_to_openai_messages,
)
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, BaseToolkit, StructuredTool, ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, ValidationError, model_validator

from ketools.core.errors import Cancelled, KetoolsError
from ketools.core.principals import OPERATOR, Principal, agent_of
from ketools.core.progress import Progress
from ketools.core.requests import Message, plain_text
from ketools.core.results import Result
from ketools.engines.base import Engine
from ketools.layers.composition import BASE
from ketools.servers.tool_calls import calls_in, read_call, without_calls
from ketools.service.service import EditService
from ketools.tools.calling import call
from ketools.tools.choosing import select
from ketools.tools.schemas import explain, get_tool, input_model
from ketools.tools.toolbox import Tool, Toolbox


class KEToolkit(BaseToolkit):
    """ketools as LangChain tools, done for one principal.

    `toolsets`: which sets to offer (`core`; `all` for every one). `tools`: names to offer in their place.
    `read_only`: only those that change nothing. Callers count as agents: what the edit policy wants a person for waits
    for an approval. Each tool returns a text for the model and the `Result` as
    artifact; errors come back as a `ToolMessage` with status "error".
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    service: Any
    principal: Principal
    tools: tuple[str, ...]

    def __init__(
        self,
        service: EditService,
        principal: Principal = OPERATOR,
        tools: Sequence[str] | None = None,
        read_only: bool = False,
        toolsets: Sequence[str] | None = None,
    ) -> None:
        chosen = select(names=tools, toolsets=toolsets, read_only=read_only)
        names = tuple(tool.name for tool in chosen)
        super().__init__(service=service, principal=agent_of(principal, "langchain"), tools=names)

    def get_tools(self) -> list[BaseTool]:
        """The tools, in the order in which an agent should read them."""
        return [self._structured(get_tool(name)) for name in self.tools]

    def _structured(self, tool: Tool) -> StructuredTool:
        def run(**arguments: Any) -> tuple[str, Result]:
            return _run(tool, Toolbox(self.service, self.principal), arguments)

        async def arun(**arguments: Any) -> tuple[str, Result]:
            stop = threading.Event()
            box = Toolbox(self.service, self.principal, _until(stop))
            running = asyncio.ensure_future(asyncio.to_thread(_run, tool, box, arguments))
            try:
                return await asyncio.shield(running)
            except asyncio.CancelledError:
                stop.set()
                running.add_done_callback(partial(_take_back, tool, box))
                raise

        return StructuredTool.from_function(
            func=run,
            coroutine=arun,
            name=tool.name,
            description=tool.description,
            args_schema=input_model(tool),
            response_format="content_and_artifact",
            handle_tool_error=True,
            handle_validation_error=_invalid,
        )


def _until(stop: threading.Event) -> Progress:
    """Progress that stops the work at its next step once the event is set."""

    def progress(done: int, total: int, message: str) -> None:
        if stop.is_set():
            raise Cancelled("The call was cancelled; nothing was committed.")

    return progress


def _take_back(tool: Tool, box: Toolbox, ended: asyncio.Future[tuple[str, Result]]) -> None:
    """Undo what a call did that was cancelled too late to be stopped."""
    if not tool.read_only and not ended.cancelled() and ended.exception() is None:
        box.service.take_back(box.principal, ended.result()[1])


def _invalid(error: Any) -> str:
    return explain(error) if isinstance(error, ValidationError) else str(error)


def _run(tool: Tool, box: Toolbox, arguments: dict[str, Any]) -> tuple[str, Result]:
    try:
        reply = call(tool, box, arguments)
    except ValidationError as error:
        raise ToolException(explain(error)) from None
    except KetoolsError as error:
        raise ToolException(error.told()) from error
    return reply.text, reply.result


class KEChatModel(BaseChatModel):
    """The served model as a LangChain chat model with tool calling.

    With `service`, as it is in `space` (default: the principal's own), edits and notes included; with `engine`, the
    untouched base model. Tool calls are read from the text: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    service: Any = Field(default=None, exclude=True)
    engine: Any = Field(default=None, exclude=True)
    space: str | None = None
    principal: Principal = OPERATOR

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.service is None) == (self.engine is None):
            raise ValueError("give either service= (the model with its edits) or engine= (the bare model)")
        return self

    @property
    def _llm_type(self) -> str:
        return "ketools"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        engine: Engine = self.engine if self.service is None else self.service.runtime.engine
        return {"model": engine.model_name, "space": self.space or self.principal.home}

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools at hand. The model chooses; only `tool_choice="auto"` is possible."""
        if tool_choice not in (None, "auto"):
            raise ValueError(f"tool_choice={tool_choice!r} is not possible; leave it out")
        bound = self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)
        return cast("Runnable[LanguageModelInput, AIMessage]", bound)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = self._respond(as_openai(messages), kwargs.get("tools", ()))
        for mark in stop or ():
            text = text.split(mark, 1)[0]
        return ChatResult(generations=[ChatGeneration(message=parse_message(text))])

    def _respond(self, messages: list[dict[str, Any]], tools: Sequence[dict[str, object]]) -> str:
        service: EditService | None = self.service
        if service is not None:
            turns = cast("list[Message]", messages)
            return service.asking.respond(self.principal, turns, self.space or self.principal.home, tools=tools)
        return str(self.engine.chat(messages, BASE, tools=tools))


def as_openai(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Messages in the OpenAI form, with texts as strings and tool arguments as objects, as chat templates expect.

    Raises `InvalidRequest` for parts of a message that are no text.
    """
    converted = convert_to_openai_messages(list(messages))
    for message in converted:
        message["content"] = plain_text(message.get("content"))
        for made in message.get("tool_calls", ()):
            made["function"]["arguments"] = json.loads(made["function"]["arguments"])
    return converted


def parse_message(text: str) -> AIMessage:
    """Model text as a message: what is outside the call marks is content, each mark a tool call."""
    good: list[ToolCall] = []
    bad: list[InvalidToolCall] = []
    for body in calls_in(text):
        try:
            name, arguments = read_call(body)
            good.append(tool_call(name=name, args=arguments, id=f"call_{uuid4().hex}"))
        except ValueError as error:
            bad.append(invalid_tool_call(args=body, id=f"call_{uuid4().hex}", error=str(error)))
    return AIMessage(without_calls(text), tool_calls=good, invalid_tool_calls=bad)
