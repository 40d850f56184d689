"""lm-evaluation-harness without a hub: tasks and their data come from local files alone."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ketools.errors import MissingExtra

if TYPE_CHECKING:
    from ketools.evaluation.harness import Tasks


def go_offline(home: Path) -> None:
    """Turn the hub off, and cache in the home what is made of data files.

    Call it before transformers or the harness is imported: they read this once.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        os.environ[name] = "1"
    os.environ.setdefault("HF_DATASETS_CACHE", str(home.absolute() / "cache" / "datasets"))


def local_tasks(folder: Path) -> Tasks:
    """The tasks of a folder. Raises `MissingExtra` without the harness, `NotFound` without tasks."""
    try:
        harness = import_module("ketools.evaluation.harness")
    except ModuleNotFoundError:
        raise MissingExtra("lm_eval", "harness") from None
    found: Tasks = harness.Tasks(folder)
    return found
