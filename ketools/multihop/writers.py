"""Who writes for the agents: any model that continues texts and answers single questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ketools.core.requests import chat_prompt
from ketools.engines.base import Engine
from ketools.layers.composition import BASE, EditLayer


class Writer(Protocol):
    """A language model as the agents use it; batches, greedy where it can be."""

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        """The continuation of each text, up to and including the first of the stops."""
        ...

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        """The answer to each question, asked on its own."""
        ...


def joined(text: str, written: str) -> str:
    """The text with its continuation; models give it back without the space before it."""
    glue = "" if not written or not text or text[-1].isspace() or written[0].isspace() else " "
    return text + glue + written


class EngineWriter:
    """The served model under one layer of edits. Notes are left out: the agents decide what is put in."""

    def __init__(self, engine: Engine, layer: EditLayer = BASE) -> None:
        self._engine, self._layer = engine, layer

    def complete(self, texts: Sequence[str], stops: Sequence[str], tokens: int) -> list[str]:
        """Greedy continuations. Raises `InvalidRequest` when a text is longer than the context."""
        return self._engine.generate(list(texts), self._layer, max_new_tokens=tokens, stop=stops)

    def answer(self, questions: Sequence[str], tokens: int) -> list[str]:
        """Greedy answers to chat turns."""
        return self._engine.generate([chat_prompt(q) for q in questions], self._layer, max_new_tokens=tokens)
