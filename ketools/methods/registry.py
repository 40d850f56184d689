"""Finds methods: the built-in files and folders, and packages that declare a `ketools.methods` entry point."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

import ketools.methods as package
from ketools.core.errors import NotFound
from ketools.core.plugins import BrokenPlugin, plugins
from ketools.methods.base import Method

GROUP = "ketools.methods"
AUTO = "auto"
"""What `method=` says to let ketools choose."""


def _builtin() -> list[Method]:
    modules = pkgutil.iter_modules(package.__path__)
    found = sorted(module.name for module in modules if module.ispkg or _is_method(module.name))
    return [importlib.import_module(f"{package.__name__}.{name}").METHOD for name in found]


def _is_method(name: str) -> bool:
    """Whether a file beside the methods' folders is a method itself; helpers are not imported, which is slow."""
    source = Path(package.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return "\nMETHOD = " in source


@cache
def methods() -> dict[str, Method]:
    """All methods by name. Raises `BrokenPlugin` for a plug-in that fails or reuses a name."""
    out: dict[str, Method] = {}
    for method in [*_builtin(), *plugins(GROUP, Method).values()]:
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
