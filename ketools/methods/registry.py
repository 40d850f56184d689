"""Finds methods: the built-in files and folders, and packages that declare a `ketools.methods` entry point."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import ketools.methods as package
from ketools.core.errors import KetoolsError, NotFound
from ketools.methods.base import Method

GROUP = "ketools.methods"
AUTO = "auto"
"""What `method=` says to let ketools choose."""


class BrokenPlugin(KetoolsError):
    """A third-party method cannot be loaded; the message names the plug-in and the cause."""


def _builtin() -> list[Method]:
    modules = pkgutil.iter_modules(package.__path__)
    found = sorted(module.name for module in modules if module.ispkg or _is_method(module.name))
    return [importlib.import_module(f"{package.__name__}.{name}").METHOD for name in found]


def _is_method(name: str) -> bool:
    """Whether a file beside the methods' folders is a method itself; helpers are not imported, which is slow."""
    source = Path(package.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return "\nMETHOD = " in source


def _plugins() -> list[Method]:
    found = []
    for point in sorted(entry_points(group=GROUP), key=lambda p: p.name):
        try:
            method = point.load()
        except Exception as error:
            raise BrokenPlugin(
                f"The method plug-in {point.name!r} ({point.value}) failed to load: "
                f"{type(error).__name__}: {error}. Repair or uninstall that package."
            ) from error
        if not isinstance(method, Method):
            raise BrokenPlugin(f"The entry point {point.name!r} ({point.value}) is not a ketools Method.")
        found.append(method)
    return found


@cache
def methods() -> dict[str, Method]:
    """All methods by name. Raises `BrokenPlugin` for a plug-in that fails or reuses a name."""
    out: dict[str, Method] = {}
    for method in [*_builtin(), *_plugins()]:
        if method.name in out:
            raise BrokenPlugin(f"Two methods are named {method.name!r}; uninstall one of the packages.")
        out[method.name] = method
    return out


def get_method(name: str) -> Method:
    """The method of that name; `NotFound` lists the near ones."""
    try:
        return methods()[name]
    except KeyError:
        raise NotFound("method", name, methods()) from None
