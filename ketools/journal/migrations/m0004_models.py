"""Version 4: which model an edit was made for, of what kind its artefact is, and which note it consolidates.

An edit may be computed anew for other models: each such rendition has a row, and the edit keeps its id.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_STATEMENTS = """
ALTER TABLE edits ADD COLUMN model VARCHAR(64);
ALTER TABLE edits ADD COLUMN form VARCHAR(60);
ALTER TABLE outcomes ADD COLUMN consolidates VARCHAR(40);
CREATE TABLE renditions (
    number INTEGER NOT NULL PRIMARY KEY,
    edit_id VARCHAR(40) NOT NULL REFERENCES edits (id),
    model VARCHAR(64) NOT NULL,
    form VARCHAR(60) NOT NULL,
    artefact VARCHAR(64) NOT NULL,
    evidence JSON,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (edit_id, model)
)
"""


def upgrade(connection: Connection) -> None:
    """Add columns and table; of edits of before it is not known for which model they were made."""
    for statement in _STATEMENTS.split(";"):
        connection.execute(text(statement))
