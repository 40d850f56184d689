"""`ketools bench evaluate`: how much faster many probes are scored together than one at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from ketools.core.progress import Progress, quiet
from ketools.core.requests import Prompt
from ketools.engines.base import Engine
from ketools.evaluation import load
from ketools.evaluation.asking import wanted
from ketools.layers.composition import BASE
from ketools.service.runtime import open_engine
from ketools.service.settings import Settings

SIZES = (1, 8, 64)


def bench_evaluate(settings: Settings, n: int = 256, rounds: int = 3, progress: Progress = quiet) -> dict[str, Any]:
    """Probes scored per second in batches of 1, 8 and 64, and what the batches gain over one at a time.

    The probes are the phrasings and the locality probes of the bundled benchmark, each scored after its prompt. The
    sizes take turns within a round and the medians over rounds are compared, so that a busy machine slows all alike.
    """
    pairs = _pairs(n)
    engine, _ = open_engine(settings)
    try:
        _score(engine, pairs[:64], 64)
        seconds: dict[int, list[float]] = {size: [] for size in SIZES}
        for turn in range(rounds):
            for i, size in enumerate(SIZES):
                progress(turn * len(SIZES) + i, rounds * len(SIZES), f"batches of {size}")
                seconds[size].append(_score(engine, pairs, size))
    finally:
        engine.close()
    per_second = {size: len(pairs) / median(taken) for size, taken in seconds.items()}
    return {
        "probes_per_second": {str(size): round(rate, 1) for size, rate in per_second.items()},
        **{f"speedup_batch_{size}": round(per_second[size] / per_second[1], 2) for size in SIZES if size > 1},
        "n": len(pairs),
        "rounds": rounds,
        "engine": settings.engine,
        "metric": "teacher-forced scores of probes, median over rounds",
    }


def _pairs(n: int) -> list[tuple[Prompt, str]]:
    """Prompts and continuations of about `n` probes."""
    found: list[tuple[Prompt, str]] = []
    for case in load("atlas-knowedit").first(n):
        probes = [(p, wanted(case.request, p)) for p in (case.direct, *case.rephrase)]
        probes += [(p, p.answer or "") for group in case.locality.values() for p in group]
        found += [(p.rendered(), text) for p, text in probes if text]
    return found[:n]


def _score(engine: Engine, pairs: Sequence[tuple[Prompt, str]], size: int) -> float:
    """Seconds to score everything in batches of a size."""
    begin = time.perf_counter()
    for start in range(0, len(pairs), size):
        batch = pairs[start : start + size]
        engine.score([prompt for prompt, _ in batch], [text for _, text in batch], BASE)
    return time.perf_counter() - begin
