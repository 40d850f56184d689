"""Version 5: through which client and why an edit was made, by whom a version, and what waits for an approval."""

from __future__ import annotations

from sqlalchemy import Connection, text

_STATEMENTS = """
ALTER TABLE edits ADD COLUMN client TEXT NOT NULL DEFAULT '';
ALTER TABLE edits ADD COLUMN why TEXT NOT NULL DEFAULT '';
ALTER TABLE versions ADD COLUMN principal TEXT;
ALTER TABLE versions ADD COLUMN client TEXT;
ALTER TABLE versions ADD COLUMN why TEXT;
CREATE TABLE proposals (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    created_at DOUBLE PRECISION NOT NULL,
    principal TEXT NOT NULL,
    client TEXT NOT NULL,
    why TEXT NOT NULL,
    change JSON NOT NULL,
    because TEXT NOT NULL
);
CREATE INDEX ix_proposals_space_id ON proposals (space_id);
CREATE TABLE decisions (
    proposal_id VARCHAR(40) NOT NULL PRIMARY KEY REFERENCES proposals (id),
    approved INTEGER NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    principal TEXT NOT NULL,
    client TEXT NOT NULL,
    why TEXT NOT NULL
)
"""


def upgrade(connection: Connection) -> None:
    """Add columns and tables; who wrote the versions of before is not known."""
    for statement in _STATEMENTS.split(";"):
        connection.execute(text(statement))
