"""Version 2: a job's arguments, so that another server can run it when its own dies."""

from __future__ import annotations

from sqlalchemy import Connection, text


def upgrade(connection: Connection) -> None:
    """Add the column; jobs of before have none and cannot be taken over."""
    connection.execute(text("ALTER TABLE job_events ADD COLUMN arguments JSON"))
