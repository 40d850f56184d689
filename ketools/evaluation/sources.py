"""A hash of the code that a method edits with: results of other code are not taken for its own."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import ketools
from ketools.methods.base import Method
from ketools.methods.registry import GROUP

_ROOT = Path(ketools.__file__).parent


def source_hash(method: Method) -> str:
    """Of the package's version and of the sources of the method, what it shares with others, and what serves its notes.

    A method of another package is that package's sources. Read once in a process, whose code does not change.
    """
    return _hash_of(_ROOT, method.name, not method.needs_model)


@cache
def _hash_of(root: Path, name: str, notes: bool) -> str:
    found = hashlib.sha256(ketools.__version__.encode())
    for path in _files([*_own(root / "methods", name), *_shared(root), *([root / "notes"] if notes else [])]):
        found.update(f"\n{path.name} {len(path.read_bytes())}\n".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def _shared(root: Path) -> list[Path]:
    """What every method computes with, and what applies an artefact."""
    return [root / "models", root / "layers", *sorted((root / "methods").glob("*.py"))]


def _own(methods: Path, name: str) -> list[Path]:
    folder = methods / name.replace("-", "_")
    if folder.is_dir():
        return _with_imported(folder)
    file = folder.with_suffix(".py")
    return [file] if file.is_file() else _plugged_in(name)


def _with_imported(folder: Path) -> list[Path]:
    """A method's folder and those of the methods that it is made of."""
    found, new = list[Path](), [folder]
    while new:
        found += new
        texts = [path.read_text(encoding="utf-8") for path in _files(new)]
        named = {folder.parent / name for text in texts for name in re.findall(r"ketools\.methods\.(\w+)", text)}
        new = sorted(path for path in named if path.is_dir() and path not in found)
    return found


def _plugged_in(name: str) -> list[Path]:
    """The package, or the single module, that a plug-in's entry point names."""
    tops = {point.module.split(".")[0] for point in entry_points(group=GROUP) if point.load().name == name}
    modules = [sys.modules[top] for top in sorted(tops)]
    return [Path(place) for module in modules for place in getattr(module, "__path__", [module.__file__])]


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]
