"""lm-evaluation-harness without a hub: tasks and their data come from local files alone."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ketools.core.errors import MissingExtra

if TYPE_CHECKING:
    from ketools.evaluation.harness import Tasks


def local_tasks(folder: Path) -> Tasks:
    """The tasks of a folder. Raises `MissingExtra` without the harness, `NotFound` without tasks."""
    try:
        harness = import_module("ketools.evaluation.harness")
    except ModuleNotFoundError:
        raise MissingExtra("lm_eval", "harness") from None
    found: Tasks = harness.Tasks(folder)
    return found
