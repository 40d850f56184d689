"""Which tools to offer: by name, by set, or by what a caller may do."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ketools.tools.schemas import get_tool
from ketools.tools.toolbox import Tool, tools
from ketools.tools.toolsets import chosen_sets


def select(
    names: Collection[str] | None = None,
    exclude: Collection[str] = (),
    read_only: bool = False,
    toolsets: Sequence[str] | None = None,
) -> tuple[Tool, ...]:
    """The tools of those names or, where none are given, of those sets; not the excluded ones.

    `toolsets`: the default ones when neither is given. Raises `NotFound` for a name that is no tool or no set.
    """
    for name in [*(names or ()), *exclude]:
        get_tool(name)
    sets = () if names is not None and toolsets is None else chosen_sets(toolsets)
    return tuple(
        tool
        for tool in tools()
        if (tool.toolset in sets or tool.name in (names or ()))
        and tool.name not in exclude
        and (tool.read_only or not read_only)
    )
