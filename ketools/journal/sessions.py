"""Who writes to PostgreSQL, on whichever host: each open journal holds a lock for as long as it lives.

The lock belongs to a session of its own. PostgreSQL lets go of it when the process dies, and some 25 seconds after
its host or the network has died. No row is written, so the journal stays append-only.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event, RLock, Thread

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from ketools.journal.writers import HasLeft, new_writer

_CLASS = 0x6B65746F  # the advisory locks of writers: "keto" in ASCII
_BEAT_S = 2.0
_TAKE = text("SELECT pg_try_advisory_lock(:kind, :number)")
_RELEASE = text("SELECT pg_advisory_unlock_all()")
_PRESENT = text(
    "SELECT CAST(objid AS bigint) FROM pg_locks WHERE locktype = 'advisory' AND classid = :kind AND objsubid = 2 "
    "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


class SessionWriters:
    """The writers of a PostgreSQL database.

    A restart of the database drops every lock, and the living take theirs again within seconds; so a writer has
    left only when its lock was missing for `patience_s`, as this observer saw it.
    """

    def __init__(self, engine: Engine, patience_s: float = 15.0) -> None:
        self.me = new_writer()
        self._engine, self._patience_s = engine.execution_options(isolation_level="AUTOCOMMIT"), patience_s
        self._missing: dict[str, float] = {}
        self._looked = 0.0
        self._lock, self._stop = RLock(), Event()
        self._session: Connection | None = self._enter()
        self._thread = Thread(target=self._stay, name="ketools-presence", daemon=True)
        self._thread.start()

    def look(self, connection: Connection) -> HasLeft:
        """By their locks: a writer has left when its lock has been missing for `patience_s`."""
        now, present = time.monotonic(), _present(connection)
        with self._lock:
            if now - self._looked > max(self._patience_s, 3 * _BEAT_S):
                self._missing.clear()  # nobody looked for a while, so nothing is known of the time between
            self._looked = now

        def has_left(writer: str, _since: float) -> bool:
            with self._lock:
                if writer == self.me or _number(writer) in present:
                    self._missing.pop(writer, None)
                    return False
                return now - self._missing.setdefault(writer, now) >= self._patience_s

        return has_left

    def close(self) -> None:
        """Let go of the lock: what this writer has not finished is anybody's."""
        self._stop.set()
        self._thread.join(_BEAT_S)
        if self._session is not None:
            with suppress(SQLAlchemyError):
                self._session.execute(_RELEASE)  # at once; the end of a session takes a moment
        self._leave()

    def _enter(self) -> Connection:
        """A session of its own that holds this writer's lock, or will as soon as its former session has ended."""
        session = self._engine.connect()
        session.detach()
        self._take(session)
        return session

    def _take(self, session: Connection) -> None:
        session.execute(_TAKE, {"kind": _CLASS, "number": _number(self.me)})

    def _stay(self) -> None:
        """Look after the session: whenever it has broken, begin another one."""
        while not self._stop.wait(_BEAT_S):
            try:
                if self._session is None:
                    self._session = self._enter()
                elif _number(self.me) not in _present(self._session):
                    self._take(self._session)
            except SQLAlchemyError:
                self._leave()

    def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(SQLAlchemyError):
                session.close()


def _present(connection: Connection) -> set[int]:
    return set(connection.execute(_PRESENT, {"kind": _CLASS}).scalars())


def _number(writer: str) -> int:
    """31 bits of a writer's random part."""
    return int(writer.rpartition("/")[2], 16) & 0x7FFFFFFF
