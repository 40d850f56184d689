"""Files and folders of the user alone: made with modes 0600 and 0700, whatever the umask allows."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

_FILE, _FOLDER = 0o600, 0o700


def private_folder(folder: Path) -> None:
    """Make the folder and those above it that are missing; what exists keeps its mode."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=_FOLDER, exist_ok=True)


def private_opener(name: str, flags: int) -> int:
    """The `opener` of `open` for a file that it may make."""
    return os.open(name, flags, _FILE)


def make_private(*paths: Path) -> None:
    """Take from other users what they may do with existing files or folders, as far as these are this user's.

    A group that may write keeps its rights: it was given them on purpose, unlike one that may only read.
    """
    for path in paths:
        with suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            private = mode & (0o770 if mode & stat.S_IWGRP else 0o700)
            if private != mode:
                path.chmod(private)
