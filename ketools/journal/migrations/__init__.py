"""Numbered migrations, append-only: a released one is never changed, a change is a new one at the end.

All that are missing run in order in one transaction, so a journal is always at one whole version.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, inspect, text

from ketools.core.errors import StorageError
from ketools.journal.migrations import (
    m0001_initial,
    m0002_job_arguments,
    m0003_key_rule,
    m0004_models,
    m0005_provenance,
    m0006_prepared,
)

Migration = Callable[[Connection], None]
MIGRATIONS: tuple[Migration, ...] = (
    m0001_initial.upgrade,
    m0002_job_arguments.upgrade,
    m0003_key_rule.upgrade,
    m0004_models.upgrade,
    m0005_provenance.upgrade,
    m0006_prepared.upgrade,
)


def schema_version(connection: Connection) -> int:
    """How many migrations a journal has had; 0 for an empty database."""
    if not inspect(connection).has_table("schema_version"):
        return 0
    return int(connection.execute(text("SELECT max(version) FROM schema_version")).scalar_one())


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a journal up to date. Raises StorageError when it was written by a newer ketools."""
    done = schema_version(connection)
    if done > len(migrations):
        raise StorageError(
            f"The journal has schema version {done}, this ketools knows {len(migrations)}. "
            "Install the ketools that wrote it, or a newer one."
        )
    for number, upgrade in enumerate(migrations[done:], start=done + 1):
        upgrade(connection)
        connection.execute(
            text("INSERT INTO schema_version (version, applied_at) VALUES (:version, :now)"),
            {"version": number, "now": time.time()},
        )
