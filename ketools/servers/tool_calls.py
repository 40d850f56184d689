"""Tool calls as models write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

_CALL = re.compile(r"<tool_call>\s*(.*?)\s*(?:</tool_call>|$)", re.DOTALL)


class Written(NamedTuple):
    """A tool call that can be read."""

    name: str
    arguments: dict[str, Any]


def calls_in(text: str) -> list[str]:
    """What stands between the marks of each call."""
    return _CALL.findall(text)


def without_calls(text: str) -> str:
    """What is outside the marks."""
    return _CALL.sub("", text).strip()


def read_call(body: str) -> Written:
    """A call as it is meant, texts without the space around them. Raises ValueError for what is none."""
    data = json.loads(body)
    if not (isinstance(data, dict) and isinstance(data.get("name"), str)):
        raise ValueError('a tool call is {"name": ..., "arguments": {...}}')
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError("the arguments of a tool call are an object")
    stripped = {key: value.strip() if isinstance(value, str) else value for key, value in arguments.items()}
    return Written(data["name"], stripped)
