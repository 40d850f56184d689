"""The environment of commands that run lm-evaluation-harness. Nothing is imported: libraries read it only once."""

from __future__ import annotations

import os
from pathlib import Path


def go_offline(home: Path) -> None:
    """Turn the hub off, and others' progress bars; cache in the home what is made of data files.

    Call it before torch, transformers or the harness is imported.
    """
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_DATASETS_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ[name] = "1"
    os.environ.setdefault("HF_DATASETS_CACHE", str(home.absolute() / "cache" / "datasets"))
