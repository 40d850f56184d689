"""The connection to the journal's database: transactions, durability, and errors that say what to do."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from ketools.errors import StorageError

T = TypeVar("T")
_SERIALISATION = ("40001", "40P01")
_ATTEMPTS = 8


class Database:
    """Reads see one snapshot; writes are serialisable.

    `where`: a file path for SQLite or any SQLAlchemy URL. `timeout_s`: how long to wait for another writer.
    """

    def __init__(self, where: str | Path, timeout_s: float) -> None:
        self.url = _url(where)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.file = Path(self.url.database) if self.is_sqlite and self.url.database else None
        self.name = str(self.file) if self.file else self.url.render_as_string(hide_password=True)
        self._lock = RLock()  # writers of this process queue here and need not poll the file lock
        with self.errors():
            self.engine = _engine(self.url, timeout_s, self.is_sqlite)
            self._durable = self.engine.execution_options(ketools_synchronous="FULL")
            self._lazy = self.engine.execution_options(ketools_synchronous="NORMAL")
            self._reader = self.engine
            if not self.is_sqlite:  # a snapshot without taking part in the writers' races
                self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads."""
        with self.errors(), self._reader.connect() as connection:
            yield connection

    def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in one transaction: all of it or, when it raises, nothing.

        Once it returns, the death of the process cannot take it back; nor, when `durable`, a power cut.
        Where the database settles races by failing one of them, `work` is run again.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._write_once(work, self._durable if durable else self._lazy)
            except DBAPIError as error:
                if attempt == _ATTEMPTS - 1 or not self._lost_a_race(error):
                    raise self.storage_error(error) from error
                time.sleep(0.01 * 2**attempt)
        raise AssertionError("unreachable")

    def _lost_a_race(self, error: DBAPIError) -> bool:
        """Run again, `work` then sees what the winner wrote. SQLite's writers wait and never race."""
        if self.is_sqlite:
            return False
        state = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)
        return isinstance(error, IntegrityError) or state in _SERIALISATION

    def _write_once(self, work: Callable[[Connection], T], writer: Engine) -> T:
        with self._lock, writer.begin() as connection:
            return work(connection)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into StorageError."""
        try:
            yield
        except (DBAPIError, OSError, sqlite3.Error) as error:
            raise self.storage_error(error) from error

    def storage_error(self, error: Exception) -> StorageError:
        """What went wrong with the database, and what to do next."""
        cause = getattr(error, "orig", None) or error
        return StorageError(f"The journal {self.name} cannot be used: {cause}. {_advice(str(cause))}")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise StorageError("The journal's URL cannot be read. Use e.g. sqlite:////data/journal.db.") from error
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StorageError("A journal in memory would lose every edit. Give a file path.")
    return url


def _engine(url: URL, timeout_s: float, is_sqlite: bool) -> Engine:
    options: dict[str, Any] = {"json_serializer": _dumps, "max_overflow": -1}
    if not is_sqlite:
        return _remote_engine(url, options | {"isolation_level": "SERIALIZABLE", "pool_pre_ping": True})
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": timeout_s}, **options)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    _use_write_ahead_log(engine, timeout_s)
    return engine


def _remote_engine(url: URL, options: dict[str, Any]) -> Engine:
    try:
        return create_engine(url, **options)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise StorageError(
            f"No driver for {url.drivername!r} is installed ({error}). Install it, e.g. pip install psycopg."
        ) from error


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """Per connection."""
    connection.isolation_level = None  # transactions are begun by `_begin`, not by the driver
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: Connection) -> None:
    """Writers take the lock at once, so that what they read cannot change before they write.

    FULL syncs the log when the transaction commits, and with it all earlier ones; NORMAL leaves it for later.
    """
    synchronous = connection.get_execution_options().get("ketools_synchronous")
    if synchronous is None:
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql(f"PRAGMA synchronous={synchronous}")
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


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _advice(cause: str) -> str:
    advice = {
        "locked": "Another process holds it: wait, call again, and if that goes on stop the other process.",
        "readonly": "Make the file and its directory writable for this user.",
        "unable to open": "Check the path, and that the directory is writable for this user.",
        "full": "Free some disk space and call again; what was acknowledged before is safe.",
        "not a database": "The file is damaged: restore it from a backup, or choose another path.",
        "malformed": "The file is damaged: restore it from a backup.",
        "disk I/O": "Check the disk; what was acknowledged before is safe if the disk is.",
    }
    hints = [text for part, text in advice.items() if part in cause]
    return hints[0] if hints else "Check that the database runs and that its address is right, then call again."
