"""`ketools bench batch`: many facts in one call of a joint method, asked of the engine that serves."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from ketools.bench.lifelong import Life, Stream
from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.layers.composition import BASE, LiveEdit
from ketools.layers.store import size_of
from ketools.methods.registry import get_method
from ketools.service.runtime import open_engine
from ketools.service.settings import Settings

METHODS = ("memit", "alphaedit", "ultraedit")


def bench_batch(
    settings: Settings,
    names: Sequence[str] = METHODS,
    n: int = 1000,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Per method: n facts of the bundled world edited in one call, then every one asked on the settings' engine.

    `residual` is the share of the squared weight change that the engine could not represent (its rank limit).
    Raises `InvalidRequest` for more facts than there are, `NotFound` for an unknown method, `Diverged`.
    """
    for name in names:
        get_method(name)
    stream = Stream.of(n)
    if len({request.key for request in stream.requests}) < n:
        raise InvalidRequest(f"The bundled world has fewer than {n} facts to edit; ask for fewer.")
    engine, editor = open_engine(settings)
    with closing(engine):
        found = {}
        for name in names:
            begin = time.perf_counter()
            made = editor.compute(name, stream.requests, BASE, progress=progress)
            seconds = time.perf_counter() - begin
            layer = BASE.with_edits(*(LiveEdit(str(i), uuid.uuid4().hex, one) for i, one in enumerate(made)))
            residual = engine.apply_layer(layer)
            found[name] = {
                **Life(engine, editor, name, stream).asked(layer, stream.requests),
                "seconds": round(seconds, 1),
                "ms_per_edit": round(1000 * seconds / n, 1),
                "bytes_per_edit": round(sum(map(size_of, made)) / n),
                "residual": residual,
            }
    return {
        "methods": found,
        "engine": settings.engine,
        "metric": "greedy exact match; locality: answers about facts that no edit touches stay what they were",
    }
