"""`ketools bench ability`: what a few edits one after another cost a model elsewhere (survey, Table 5)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ketools.atlas import ability
from ketools.core.errors import Diverged, InvalidRequest, Refused
from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS, EditRequest
from ketools.editing.editor import Editor
from ketools.engines.base import Engine
from ketools.evaluation import load
from ketools.evaluation.calibration import ANSWER_TOKENS
from ketools.evaluation.metrics import achieves, interval, mean
from ketools.evaluation.offline import local_tasks
from ketools.knowledge.scope import Scope
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.store import content_hash
from ketools.methods.registry import get_method
from ketools.notes import NoteInjector, ScopedEngine
from ketools.service.runtime import open_encoder, open_engine
from ketools.service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ketools.evaluation.harness import Marks, Tasks

METHODS = ("ice", "ft-m", "rome", "memit", "lora")
DATA = "atlas-knowedit/wiki_recent"
EDITS = 5


@dataclass(frozen=True)
class Examiner:
    """An engine that is edited, and the tasks that it is examined in."""

    engine: Engine
    editor: Editor
    notes: NoteInjector
    tasks: Tasks
    limit: int | None

    def marks(self, layer: EditLayer) -> Marks:
        """What each document of each task is worth under a layer."""
        from ketools.evaluation.harness import ServedSpace

        return self.tasks.marks(ServedSpace(self.engine, self.notes, layer), self.limit)

    def edited(self, method: str, requests: Sequence[EditRequest]) -> tuple[EditLayer, int]:
        """The layer after the edits, each on top of those before it, and how many were not made."""
        layer, failed = BASE, 0
        for i, request in enumerate(requests):
            try:
                (made,) = self.editor.compute(method, [request], layer)
            except (Refused, Diverged, InvalidRequest):
                failed += 1
                continue
            layer = layer.with_edits(LiveEdit(str(i), content_hash(made), made))
        return layer, failed

    def success(self, layer: EditLayer, requests: Sequence[EditRequest]) -> float | None:
        """Share of the edits that the greedy answer to their own prompt gives, at the end."""
        prompts = [request.prompt for request in requests]
        answers = ScopedEngine(self.engine, self.notes).generate(prompts, layer, max_new_tokens=ANSWER_TOKENS)
        return mean([float(achieves(r, answer)) for r, answer in zip(requests, answers, strict=True)])


def bench_ability(
    settings: Settings,
    names: Sequence[str] = METHODS,
    data: str = DATA,
    edits: int = EDITS,
    folder: Path | None = None,
    limit: int | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Marks of every task on the untouched model, and on it after `edits` edits of a data set by each method.

    `folder`: task files of lm-evaluation-harness; without, tasks over the bundled world that name nothing that is
    edited. `limit`: documents of each task. Raises `NotFound` for an unknown method, data set or folder without
    tasks, `MissingExtra` without the harness. `ketools.cli.offline.go_offline` goes before importing this.
    """
    for name in names:
        get_method(name)
    requests = [case.request for case in load(data).first(edits)]
    with _tasks(folder, requests) as tasks:
        engine, editor = open_engine(settings)
        examiner = Examiner(engine, editor, NoteInjector(encoder=open_encoder(settings), scope=Scope()), tasks, limit)
        try:
            progress(0, len(names) + 1, "the untouched model")
            before, found = examiner.marks(BASE), dict[str, Any]()
            for i, name in enumerate(names):
                progress(i + 1, len(names) + 1, name)
                layer, failed = examiner.edited(name, requests)
                marks = _compared(before, examiner.marks(layer))
                found[name] = {"success": examiner.success(layer, requests), "failed": failed, "tasks": marks}
        finally:
            engine.close()
    return {
        "base": _compared(before),
        "methods": found,
        "edits": len(requests),
        "data": data,
        "engine": settings.engine,
        "metric": "zero-shot; ci: 95% bootstrap over documents, of the change where there is one",
    }


@contextmanager
def _tasks(folder: Path | None, requests: Sequence[EditRequest]) -> Iterator[Tasks]:
    """Those of the folder, else those over the bundled world, in a folder that goes away."""
    if folder is not None:
        yield local_tasks(folder)
        return
    edited = {r.subject for r in requests} | {r.target_new for r in requests if r.kind in FACTS}
    with tempfile.TemporaryDirectory(prefix="ketools-ability-") as made:
        ability.write(Path(made), avoid=edited)
        yield local_tasks(Path(made))


def _compared(before: Marks, after: Marks | None = None) -> dict[str, Any]:
    """Per task and metric its mean; after edits also by how much it changed, document by document."""
    return {
        f"{task}/{metric}": _row(marks, after[task][metric] if after is not None else None)
        for task, metrics in before.items()
        for metric, marks in metrics.items()
    }


def _row(before: Sequence[float], after: Sequence[float] | None) -> Mapping[str, Any]:
    if after is None:
        return {"value": _rounded(mean(before)), "ci": _interval(before), "n": len(before)}
    changes = [b - a for a, b in zip(before, after, strict=True)]
    return {
        "value": _rounded(mean(after)),
        "change": _rounded(mean(changes)),
        "ci": _interval(changes),
        "n": len(after),
    }


def _rounded(value: float | None) -> float:
    return round(value or 0.0, 4)


def _interval(values: Sequence[float]) -> list[float]:
    return [round(bound, 4) for bound in interval(values) or (0.0, 0.0)]
