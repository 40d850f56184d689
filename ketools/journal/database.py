"""The connection to the journal's database: transactions, durability, and errors that say what to do."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, Transaction
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ketools.core.errors import StorageError, StorageUnavailable
from ketools.journal.options import KEY, Writing
from ketools.journal.postgresql import postgresql_engine, postgresql_error, transaction_id, was_committed
from ketools.journal.sqlite import sqlite_engine, sqlite_error

T = TypeVar("T")


class Database:
    """Reads see one snapshot; writers of all processes go one after another.

    `where`: a file path for SQLite, or a URL of SQLite or PostgreSQL. `timeout_s`: how long to wait for
    another writer, and for a connection.
    """

    def __init__(self, where: str | Path, timeout_s: float) -> None:
        self.url = _url(where)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.file = Path(self.url.database) if self.is_sqlite and self.url.database else None
        self.name = str(self.file) if self.file else self.url.render_as_string(hide_password=True)
        self._timeout_s = timeout_s
        self._lock = RLock()  # writers of this process queue here and need not poll the database's lock
        with self.errors():
            self.engine = (sqlite_engine if self.is_sqlite else postgresql_engine)(self.url, timeout_s)
        self._writers = {mode: self.engine.execution_options(**{KEY: mode}) for mode in Writing}
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        alone = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._snapshots = self.engine.execution_options(**snapshot)
        self._alone = self.engine.execution_options(**alone)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which only reads, on one snapshot."""
        return self._with_fresh_connection(lambda: self._read_once(work, self._snapshots))

    def value(self, query: Select[tuple[Any]]) -> Any:
        """The one value of a query (None without a row), in a single exchange with the database."""
        return self._with_fresh_connection(lambda: self._read_once(lambda c: c.execute(query).scalar(), self._alone))

    def write(self, work: Callable[[Connection], T], *, durable: bool = True) -> T:
        """Run `work` in one transaction: all of it or, when it raises, nothing. `work` may be run twice.

        Once it returns, the death of the process cannot take it back; nor, when `durable`, a power cut.
        """
        writer = self._writers[Writing.DURABLE if durable else Writing.LAZY]
        return self._with_fresh_connection(lambda: self._write_once(work, writer))

    def _with_fresh_connection(self, attempt: Callable[[], T]) -> T:
        """Repeat once what failed because its connection had died since it was last used: nothing was written."""
        with self.errors():
            try:
                return attempt()
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                return attempt()

    def _read_once(self, work: Callable[[Connection], T], reader: Engine) -> T:
        with reader.connect() as connection:
            return work(connection)

    def _write_once(self, work: Callable[[Connection], T], writer: Engine) -> T:
        with self._lock, writer.connect() as connection, connection.begin() as transaction:
            result = work(connection)
            self._commit(connection, transaction)
            return result

    def _commit(self, connection: Connection, transaction: Transaction) -> None:
        """Commit, and when the connection breaks before the answer comes, ask what became of it."""
        xid = "" if self.is_sqlite else transaction_id(connection)
        try:
            transaction.commit()
        except DBAPIError as error:
            if not error.connection_invalidated or not self._arrived(xid):
                raise

    def _arrived(self, xid: str) -> bool:
        """Whether a commit without an answer was done. Raises StorageUnavailable when nobody can tell."""
        deadline = time.monotonic() + self._timeout_s
        while time.monotonic() < deadline:
            try:
                known = self._read_once(lambda connection: was_committed(connection, xid), self._alone)
            except DBAPIError:
                known = None
            if known is not None:
                return known
            time.sleep(0.1)
        raise StorageUnavailable(
            f"The journal {self.name} went away in the middle of a commit, so this may or may not have been written. "
            "Look at the space (list_edits) when the database is back, and call again if it is missing there."
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the driver's errors into StorageError."""
        try:
            yield
        except (DBAPIError, PoolTimeout, OSError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            told = f"The journal {self.name} cannot be used: {str(cause).strip().rstrip('.')}."
            raise (sqlite_error if self.is_sqlite else postgresql_error)(told, cause) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _url(where: str | Path) -> URL:
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(Path(where).expanduser().absolute()))
    example = "Use a path, sqlite:////data/journal.db, or postgresql://USER@HOST/DATABASE."
    try:
        url = make_url(where)
    except ArgumentError as error:
        raise StorageError(f"The journal's URL cannot be read. {example}") from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StorageError(f"A journal cannot be kept in {url.drivername!r}. {example}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StorageError("A journal in memory would lose every edit. Give a file path.")
    return url
