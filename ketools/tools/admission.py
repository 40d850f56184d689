"""Whether a call is within its caller's limits, told before anything of it is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from ketools.tools.toolbox import Tool, Toolbox


def admit(tool: Tool, box: Toolbox, arguments: Mapping[str, Any]) -> None:
    """Count the call against its principal's limits. Raises `LimitReached` with what to wait for."""
    quotas, who = box.service.quotas, box.principal
    quotas.spend_text(who, len(to_json(dict(arguments))))
    edits = _edits(tool, arguments)
    if edits:
        quotas.spend_edits(who, edits)
    if not tool.read_only and (space := _target(tool, box, arguments)):
        quotas.require_room(who, space, 0 if arguments.get("dry_run") else edits)


def _edits(tool: Tool, arguments: Mapping[str, Any]) -> int:
    """How many facts a call tries to edit: tools that edit know dry runs, which cost as much."""
    if "dry_run" not in tool.parameters:
        return 0
    return len(arguments["facts"]) if "facts" in tool.parameters else 1


def _target(tool: Tool, box: Toolbox, arguments: Mapping[str, Any]) -> str | None:
    """The space that a call may make: a fork's name, else the space that it names or means."""
    if "name" in tool.parameters:
        return str(arguments["name"])
    if "space" not in tool.parameters:
        return None
    return str(arguments["space"]) if arguments.get("space") else box.principal.home
