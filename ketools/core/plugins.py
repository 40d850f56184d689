"""Finds what other packages register under entry points, the bundled world's package among them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

from ketools.core.errors import KetoolsError

T = TypeVar("T")


class BrokenPlugin(KetoolsError):
    """A plug-in cannot be loaded; the message names it and the cause."""


def plugins(group: str, kind: type[T]) -> dict[str, T]:
    """What is registered in a group, by the entry points' names, in their order.

    Raises `BrokenPlugin` for one that fails to load, is of another type, or has the name of another.
    """
    return {name: _checked(group, name, found, kind) for name, found in _loaded(group).items()}


@cache
def names(group: str) -> frozenset[str]:
    """The names that are registered in a group; nothing is loaded."""
    return frozenset(point.name for point in entry_points(group=group))


def loaded(group: str, name: str) -> object:
    """What is registered under a name, of whatever type. Raises `BrokenPlugin` when any of the group fails to load."""
    return _loaded(group)[name]


@cache
def _loaded(group: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for point in sorted(entry_points(group=group), key=lambda point: point.name):
        if point.name in found:
            raise BrokenPlugin(f"Two packages register {point.name!r} in {group}; uninstall one of them.")
        try:
            found[point.name] = point.load()
        except Exception as error:
            raise BrokenPlugin(
                f"The plug-in {point.name!r} ({point.value}) of {group} failed to load: "
                f"{type(error).__name__}: {error}. Repair or uninstall that package."
            ) from error
    return found


def _checked(group: str, name: str, found: object, kind: type[T]) -> T:
    if not isinstance(found, kind):
        raise BrokenPlugin(f"The entry point {name!r} of {group} is not a ketools {kind.__name__}.")
    return found
