"""The journal in PostgreSQL: many servers on many hosts, writers one after another, readers beside them."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ketools.core.errors import StorageError, StorageUnavailable, requirements
from ketools.journal.options import OPTIONS, writing

WRITERS = 0x6B65746F6F6C73  # the advisory lock that a writing transaction holds: "ketools" in ASCII
POOL = 16
_XID = "ketools_xid"
_AGAIN = "Call again when it is back; a server goes on by itself then."
_UNAVAILABLE = {
    "08": f"The connection broke. {_AGAIN}",
    "53300": "It has no connection left: raise max_connections, or run fewer tool servers. Then call again.",
    "55P03": "Another server has been writing for too long: call again.",
    "57P": f"It is being stopped or started. {_AGAIN}",
}
_ADVICE = {
    "25006": "It is a standby or read-only: point the journal's URL at the primary.",
    "28": "Check user and password in the journal's URL, or PGPASSWORD or PGPASSFILE.",
    "3D000": "Create the database (createdb NAME), or correct the journal's URL.",
    "42501": "Grant the user CREATE and USAGE on the schema, and its tables.",
    "42P01": "A table is missing: restore the database from a backup.",
    "53100": "Free some disk space of the database and call again; what was acknowledged before is safe.",
}
_PHRASES = {"password": "28", "pg_hba.conf": "28", 'role "': "28", 'database "': "3D000", "too many": "53300"}


def postgresql_engine(url: URL, timeout_s: float) -> Engine:
    """Connections to the server; none is made yet. Raises StorageError without the driver."""
    given = {
        "connect_timeout": max(2, math.ceil(timeout_s)),
        "application_name": "ketools",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": math.ceil(timeout_s * 1000),
    }
    arguments = {name: value for name, value in given.items() if name not in url.query}
    try:
        engine = create_engine(
            url, connect_args=arguments, pool_size=POOL, max_overflow=0, pool_timeout=timeout_s, **OPTIONS
        )
    except ModuleNotFoundError as error:
        driver = requirements("postgres")
        raise StorageError(f"The driver of PostgreSQL is missing. Run: pip install {driver}") from error
    settings = {"lock_timeout": math.ceil(timeout_s * 1000)}
    settings |= {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}  # of a dead host
    statements = "; ".join(f"SET {name} = {value}" for name, value in settings.items())

    def prepare(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute(statements)
        connection.autocommit = False

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    """Writers queue for one lock before they read, as in SQLite: no race is ever lost and repeated.

    READ COMMITTED, since a stricter level would look at the journal as it was before the wait. Every commit waits
    for the disk: this process outlives a crash of the database, and must not miss what it wrote before.
    """
    if writing(connection) is None:
        return
    taken = connection.exec_driver_sql(f"SELECT pg_current_xact_id()::text, pg_advisory_xact_lock({WRITERS})")
    connection.info[_XID] = taken.scalar_one()


def transaction_id(connection: Connection) -> str:
    """The id of the writing transaction that a connection is in."""
    return str(connection.info[_XID])


def was_committed(connection: Connection, xid: str) -> bool | None:
    """Whether a transaction whose connection broke at its commit was committed; None while it runs."""
    status = connection.execute(text("SELECT pg_xact_status(CAST(:xid AS xid8))"), {"xid": xid}).scalar()
    return None if status == "in progress" else status == "committed"


def postgresql_error(told: str, cause: BaseException) -> StorageError:
    """What went wrong with the database, and what to do next."""
    state = _state(cause)
    for kind, table in ((StorageUnavailable, _UNAVAILABLE), (StorageError, _ADVICE)):
        for start, advice in table.items():
            if state.startswith(start):
                return kind(f"{told} {advice}")
    return StorageError(f"{told} Check the database and its log, then call again.")


def _state(cause: BaseException) -> str:
    """The SQLSTATE of an error; errors of connecting carry none, so these are told by their text."""
    if isinstance(cause, PoolTimeout):
        return "08"
    known = getattr(cause, "sqlstate", None)
    if known:
        return str(known)
    if "FATAL" not in str(cause) and "no password supplied" not in str(cause):
        return "08" if type(cause).__name__ in ("OperationalError", "ConnectionTimeout", "InterfaceError") else ""
    return next((state for phrase, state in _PHRASES.items() if phrase in str(cause)), "57P")
