"""Version 3: by which rule an edit's key was made, so that keys of before are told from those of now."""

from __future__ import annotations

from sqlalchemy import Connection, text


def upgrade(connection: Connection) -> None:
    """Add the column; all edits of before have keys by the first rule."""
    connection.execute(text("ALTER TABLE edits ADD COLUMN key_rule INTEGER NOT NULL DEFAULT 1"))
