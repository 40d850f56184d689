"""`ketools bench methods`: milliseconds and memory of an edit, alone and in batches, per method."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.footprint import watched
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest
from ketools.editing.editor import Editor
from ketools.evaluation.calibration import known_cases
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import BASE
from ketools.layers.store import size_of
from ketools.methods.registry import get_method, methods
from ketools.service.runtime import open_engine
from ketools.service.settings import Settings

SIZES = (1, 10, 100, 1000)


def bench_methods(
    settings: Settings,
    names: Sequence[str] = (),
    sizes: Sequence[int] = SIZES,
    budget_s: float = 300.0,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Per method and size of batch: milliseconds an edit, peak memory beyond the loaded model (None where the system
    does not tell), bytes an edit.

    Every measurement has a process of its own, since a process does not give its peak back. A batch that would
    take longer than `budget_s` seconds, going by the one before, is left out and told under `left_out`; so is one that
    diverges or is refused. `names` empty: every method that computes with the model.
    """
    chosen = list(names) or [name for name, method in methods().items() if method.needs_model]
    for name in chosen:
        get_method(name)
    found: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    left_out: dict[str, dict[str, str]] = {}
    spawn = multiprocessing.get_context("spawn")
    for i, name in enumerate(chosen):
        ms = 0.0
        for j, size in enumerate(sorted(sizes)):
            progress(i * len(sizes) + j, len(chosen) * len(sizes), f"{name}, {size} at once")
            if ms * size > 1000 * budget_s:
                left_out.setdefault(name, {})[str(size)] = f"about {ms * size / 1000:.0f} s"
                continue
            try:
                with ProcessPoolExecutor(1, spawn) as pool:
                    row = pool.submit(measure, settings, name, size).result()
            except (Diverged, InvalidRequest) as error:
                left_out.setdefault(name, {})[str(size)] = str(error)
                continue
            found[name][str(size)], ms = row, row["ms_per_edit"]
    return {
        "methods": found,
        "left_out": left_out,
        "metric": "milliseconds an edit of one batch; peak resident MB beyond the loaded model after one edit",
    }


def measure(settings: Settings, name: str, size: int) -> dict[str, Any]:
    """One batch, after one edit that loads and caches what all batches share. Raises `Diverged`, `InvalidRequest`."""
    requests = [case.request for case in known_cases(size + 1, seed=size)]
    _, editor = open_engine(settings.model_copy(update={"engine": "local"}))
    _timed(editor, name, requests[:1])
    with watched() as needed:
        ms, made = _timed(editor, name, requests[1:])
    return {
        "ms_per_edit": round(ms / size, 2),
        "peak_mb": needed.mb if needed.mb is None else round(needed.mb, 1),
        "bytes_per_edit": round(sum(map(size_of, made)) / size),
        "n": size,
    }


def _timed(editor: Editor, name: str, requests: Sequence[EditRequest]) -> tuple[float, list[Artefact]]:
    begin = time.perf_counter()
    made = editor.compute(name, requests, BASE)
    return 1000 * (time.perf_counter() - begin), made
