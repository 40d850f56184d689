"""Tool sets: an agent reads only the tools that its work needs, since every request pays for their descriptions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from ketools.core.errors import NotFound


class ToolSet(StrEnum):
    """A named group of tools that is switched on as one."""

    CORE = "core"
    SPACES = "spaces"
    LAB = "lab"
    ADMIN = "admin"


PURPOSES = {
    ToolSet.CORE: "what an agent needs in conversation: edit, erase, ask, list, undo",
    ToolSet.SPACES: "spaces: list, fork, compare, restore",
    ToolSet.LAB: "measuring: evaluate edits and spaces, compare methods, locate facts, multi-hop questions, jobs",
    ToolSet.ADMIN: "bulk and upkeep: edit a thousand facts at once, consolidate notes into weights",
}
DEFAULT = (ToolSet.CORE,)
EVERY = tuple(ToolSet)


def chosen_sets(names: Iterable[str] | None) -> Collection[ToolSet]:
    """The tool sets of those names, `all` for every one; the default sets for None. Raises `NotFound`."""
    if names is None:
        return DEFAULT
    given = [name.strip().lower() for name in names]
    if "all" in given:
        return EVERY
    for name in given:
        if name not in tuple(ToolSet):
            raise NotFound("tool set", name, (*ToolSet, "all"))
    return tuple(one for one in ToolSet if one in given)
