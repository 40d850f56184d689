"""The multi-hop agents as LangChain runnables, over any LangChain model or the served one.

`stream` yields every step as a typed event; `invoke` returns the last one, which holds the whole chain; `batch`
runs many questions side by side, their model calls batched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLanguageModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import Runnable, RunnableConfig

from ketools.core.errors import InvalidRequest, KetoolsError, ModelError
from ketools.core.principals import OPERATOR, Principal
from ketools.engines.base import cut
from ketools.multihop import (
    EditMemory,
    EngineWriter,
    Event,
    Finished,
    MultihopResources,
    Program,
    Writer,
    load_prompts,
    run,
    run_all,
)
from ketools.multihop.loops import FINAL
from ketools.service.service import EditService

CONTINUE = "Continue the text exactly where it ends, in its form. Write only what comes next."
MOST_CHARACTERS = 2000


class LangChainWriter:
    """Any LangChain model as a writer: completion models continue the text, chat models are told to."""

    def __init__(self, model: BaseLanguageModel[Any]) -> None:
        self._model = model

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        """Continuations up to a stop. Raises `ModelError` when the model cannot be reached."""
        chat = isinstance(self._model, BaseChatModel)
        inputs: list[Any] = [[SystemMessage(CONTINUE), HumanMessage(t)] if chat else t for t in texts]
        return [_restored(text, stops) for text in self._batch(inputs, stop=list(stops))]

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        """Answers. Raises `ModelError` when the model cannot be reached."""
        return self._batch(list(questions))

    def _batch(self, inputs: list[Any], **options: Any) -> list[str]:
        try:
            outputs = self._model.batch(inputs, **options)
        except Exception as error:  # providers raise whatever they like
            raise ModelError(
                f"The language model cannot answer ({error}). Check that it is up, and ask again."
            ) from error
        return [str(o.text) if isinstance(o, BaseMessage) else str(o) for o in outputs]


def _restored(text: str, stops: Sequence[str]) -> str:
    """The text with the stop at its end, which most providers cut off."""
    if any(stop in text for stop in stops):
        return cut(text, stops)
    ended = FINAL in text or not stops[0].strip()
    return text if ended else f"{text.rstrip()}\n{stops[0]}"


class MultihopAgent(Runnable[str, Event]):
    """One agent (`auto`, `mello`, `pokemqa`) over one memory of edits."""

    def __init__(self, resources: MultihopResources, memory: EditMemory, writer: Writer, agent: str = "auto") -> None:
        self.resources, self.memory, self.writer, self.agent = resources, memory, writer, agent

    @classmethod
    def over(
        cls,
        service: EditService,
        space: str | None = None,
        agent: str = "auto",
        llm: BaseLanguageModel[Any] | None = None,
        principal: Principal = OPERATOR,
    ) -> MultihopAgent:
        """The agent over the edits of a space (default: the principal's own) as they are now.

        `llm`: writes in place of the served model.
        """
        memory, layer, _ = service.asking.memory(principal, space or principal.home)
        if llm is None:
            return cls(service.runtime.multihop, memory, EngineWriter(service.runtime.engine, layer), agent)
        prompts = load_prompts(service.settings.multihop_prompts or "default")
        return cls(replace(service.runtime.multihop, prompts=prompts), memory, LangChainWriter(llm), agent)

    def stream(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Event]:  # noqa: A002
        """Every event as it happens; the last is `Finished`."""
        yield from run(self.resources.program(self.agent, self.memory, _checked(input)), self.writer)

    async def astream(
        self,
        input: str,  # noqa: A002
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Event]:
        """`stream`, without blocking the event loop."""
        events = self.stream(input, config)
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> Event:  # noqa: A002
        """The `Finished` event of one question."""
        *_, last = self.stream(input, config)
        return last

    def batch(
        self,
        inputs: list[str],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Event]:
        """The `Finished` events of many questions, their model calls served together."""
        found: dict[int, Any] = {}
        programs: dict[int, Program] = {}
        for i, text in enumerate(inputs):
            try:
                programs[i] = self.resources.program(self.agent, self.memory, _checked(text))
            except KetoolsError as error:
                if not return_exceptions:
                    raise
                found[i] = error
        places = list(programs)
        for i, event in run_all(list(programs.values()), self.writer):
            if isinstance(event, Finished):
                found[places[i]] = event
        return [found[i] for i in range(len(inputs))]


def _checked(question: str) -> str:
    if not question.strip() or len(question) > MOST_CHARACTERS:
        raise InvalidRequest(f"A question has 1 to {MOST_CHARACTERS} characters, not {len(question)}; shorten it.")
    return question
