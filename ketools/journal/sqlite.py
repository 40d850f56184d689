"""The journal in a SQLite file: one writer at a time, readers beside it, a log that survives a power cut."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from ketools.core.errors import StorageError, StorageUnavailable
from ketools.core.private import make_private, private_folder
from ketools.journal.options import OPTIONS, Writing, writing

_ADVICE = {
    "readonly": "Make the file and its directory writable for this user.",
    "unable to open": "Check the path, and that the directory is writable for this user.",
    "full": "Free some disk space and call again; what was acknowledged before is safe.",
    "not a database": "The file is damaged: restore it from a backup, or choose another path.",
    "malformed": "The file is damaged: restore it from a backup.",
    "disk I/O": "Check the disk; what was acknowledged before is safe if the disk is.",
}


def sqlite_engine(url: URL, timeout_s: float) -> Engine:
    """Connections to the file, which is made if it is not there."""
    _make_file(Path(url.database or ""))
    engine = create_engine(url, connect_args={"timeout": timeout_s}, max_overflow=-1, **OPTIONS)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    _use_write_ahead_log(engine, timeout_s)
    return engine


def _make_file(path: Path) -> None:
    """The empty file, for this user alone: SQLite gives the log and the index beside it the file's own mode.

    An existing one is not opened: closing it again would drop the locks of this process's connections.
    """
    private_folder(path.parent)
    with suppress(FileExistsError):
        path.touch(mode=0o600, exist_ok=False)
    make_private(path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm"))


def sqlite_error(told: str, cause: BaseException) -> StorageError:
    """What went wrong with the file, and what to do next."""
    if "locked" in str(cause):
        return StorageUnavailable(
            f"{told} Another process holds it: wait, call again, and if that goes on stop the other process."
        )
    hints = [text for part, text in _ADVICE.items() if part in str(cause)]
    return StorageError(f"{told} {hints[0] if hints else 'Check the file, then call again.'}")


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """Per connection."""
    connection.isolation_level = None  # transactions are begun by `_begin`, not by the driver
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    """Writers take the lock at once, so that what they read cannot change before they write.

    FULL syncs the log when the transaction commits, and with it all earlier ones; NORMAL leaves it for later.
    """
    mode = writing(connection)
    if mode is None:
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if mode is Writing.DURABLE else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_write_ahead_log(engine: Engine, timeout_s: float) -> None:
    """Readers and the writer do not block each other. The mode stays in the file once set."""
    deadline = time.monotonic() + timeout_s
    while True:
        raw = engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)  # two processes are opening a new file at once
        finally:
            raw.close()
