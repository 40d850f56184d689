"""Which language model an agent thinks with: the served model itself, or any other chat model by setting."""

from __future__ import annotations

import importlib
from typing import Any

from langchain_core.language_models import BaseChatModel

from ketools.core.errors import InvalidRequest, MissingExtra


def load_llm(spec: str, base_url: str | None = None) -> BaseChatModel:
    """A chat model by setting: `openai:MODEL` (any OpenAI-compatible server) or `module:attribute`.

    The attribute is a chat model or a function that makes one. Raises InvalidRequest or MissingExtra.
    """
    kind, _, rest = spec.partition(":")
    if not rest:
        raise InvalidRequest(f"{spec!r} names no model: use openai:MODEL or module:attribute.")
    return _openai(rest, base_url) if kind == "openai" else _imported(kind, rest)


def _openai(model: str, base_url: str | None) -> BaseChatModel:
    try:
        library: Any = importlib.import_module("langchain_openai")
    except ModuleNotFoundError:
        raise MissingExtra("langchain-openai", "openai") from None
    made: BaseChatModel = library.ChatOpenAI(model=model, base_url=base_url, temperature=0)
    return made


def _imported(module: str, attribute: str) -> BaseChatModel:
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InvalidRequest(f"Cannot import {module}:{attribute}: {error}.") from None
    made = found if isinstance(found, BaseChatModel) else found()
    if not isinstance(made, BaseChatModel):
        raise InvalidRequest(f"{module}:{attribute} is no LangChain chat model.")
    return made
