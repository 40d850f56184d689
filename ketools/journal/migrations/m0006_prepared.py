"""Version 6: by which prepared state an edit was computed."""

from __future__ import annotations

from sqlalchemy import Connection, text


def upgrade(connection: Connection) -> None:
    """Add the column; no method of before prepared anything."""
    connection.execute(text("ALTER TABLE edits ADD COLUMN prepared VARCHAR(64)"))
