"""One call of a tool, the same for MCP, LangChain and the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ketools.core.pacing import acting_for
from ketools.core.results import Result, SpaceResult
from ketools.tools.admission import admit
from ketools.tools.toolbox import Tool, Toolbox

FORMAT = "response_format"
"""The argument by which a caller asks for the long text; the tools themselves do not know it."""


@dataclass(frozen=True)
class Reply:
    """What a tool answers: `result` for programs, `text` for a language model."""

    result: Result
    text: str


def call(tool: Tool, box: Toolbox, arguments: Mapping[str, Any]) -> Reply:
    """Call a tool with checked arguments, within the caller's limits. Raises `KetoolsError`."""
    admit(tool, box, arguments)
    with acting_for(box.principal.name):
        return _answered(tool, box, arguments)


def _answered(tool: Tool, box: Toolbox, arguments: Mapping[str, Any]) -> Reply:
    result = tool.method(box, **{name: value for name, value in arguments.items() if name != FORMAT})
    return replied(tool, result, arguments)


def replied(tool: Tool, result: Result, arguments: Mapping[str, Any]) -> Reply:
    """The result with its text; a space that the caller did not name is told."""
    text = result.detail() if arguments.get(FORMAT) == "detailed" else result.line()
    implied = "space" in tool.parameters and arguments.get("space") is None
    if implied and isinstance(result, SpaceResult) and result.place not in text:
        text = f"{text}\n(in {result.place})"
    return Reply(result, text)
