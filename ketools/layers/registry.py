"""Finds the kinds of artefacts: the built-in files, and packages with an entry point in `ketools.artefacts`.

Which kinds there are is known without importing one, so that spaces are listed without torch.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

import ketools.layers.kinds as package
from ketools.core.errors import NotFound
from ketools.core.plugins import BrokenPlugin, loaded, names
from ketools.layers.artefacts import Artefact, Served

GROUP = "ketools.artefacts"


def forms() -> frozenset[str]:
    """The kinds that can be read here. Raises `BrokenPlugin` for a plug-in that reuses a name."""
    own, others = _builtin(), names(GROUP)
    if own & others:
        raise BrokenPlugin(f"Two kinds of artefacts are named {min(own & others)!r}; uninstall one of the packages.")
    return own | others


def kind(form: str) -> type[Artefact]:
    """The class of a kind. Raises `NotFound`, and `BrokenPlugin` for a plug-in that is none."""
    if form not in forms():
        raise NotFound("kind of artefact", form, forms())
    if form in _builtin():
        found: object = importlib.import_module(f"{package.__name__}.{form}").KIND
    else:
        found = loaded(GROUP, form)
    if not (isinstance(found, type) and issubclass(found, Artefact) and found.form == form):
        raise BrokenPlugin(f"The entry point {form!r} of {GROUP} is not a ketools Artefact of that form.")
    return found


def objection(form: str, engine: str) -> str:
    """Why an engine (`local`, `vllm`) does not serve artefacts of a kind, or an empty string."""
    if form in _builtin():
        return ""
    if form not in forms():
        return (
            f"Its artefact is of the kind {form!r}, which this ketools does not know: install the plug-in or the newer "
            "ketools that made it."
        )
    return unserved(form) if engine == "vllm" and kind(form).vllm is Served.NOT else ""


def unserved(form: str) -> str:
    """Why vLLM does not serve a kind that it cannot."""
    return f"vLLM cannot serve artefacts of the kind {form!r}: serve with --engine local, or use another method."


@cache
def _builtin() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__))
