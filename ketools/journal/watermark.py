"""How far a journal had come, in a small file beside it: an older copy put in its place is noticed at opening."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from ketools.core.errors import StorageError

_WIDTH = 20


class Watermark:
    """The highest sequence of versions that was written, as digits in `<journal>.head`.

    It is written after each commit and not synced: it may lag behind the journal, and is never ahead of it. Only a
    journal that has lost versions is behind its mark.
    """

    def __init__(self, journal: Path) -> None:
        self.path, self._journal = journal.with_name(f"{journal.name}.head"), journal

    def read(self) -> int:
        """The mark; 0 when there is none."""
        try:
            return int(self.path.read_bytes()[:_WIDTH])
        except (OSError, ValueError):
            return 0

    def note(self, sequence: int) -> None:
        """Raise the mark. A mark that cannot be written stays behind, which only weakens the check."""
        with contextlib.suppress(OSError):
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(handle, f"{sequence:0{_WIDTH}d}\n".encode(), 0)
            finally:
                os.close(handle)

    def check(self, current: Callable[[], int]) -> None:
        """Raise StorageError when the journal has fewer versions than it had.

        The mark is read first: another process may commit between the two, which takes both further.
        """
        had = self.read()
        sequence = current()
        if had > sequence:
            raise StorageError(
                f"The journal {self._journal} has {sequence} versions, but had {had}: an older copy stands in its "
                f"place, or {self._journal.name}-wal is lost, and with it later edits and erasures. Put the newest "
                f"files back from a backup; or, to go on without what is lost, remove {self.path.name} and start again."
            )
