"""Version 1: spaces, edits and their outcomes, versions, jobs."""

from __future__ import annotations

from sqlalchemy import Connection, text

_TABLES = """
CREATE TABLE schema_version (
    version INTEGER NOT NULL PRIMARY KEY,
    applied_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE settings (
    name VARCHAR(60) NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
CREATE TABLE spaces (
    id VARCHAR(140) NOT NULL PRIMARY KEY,
    name VARCHAR(120) NOT NULL,
    generation INTEGER NOT NULL,
    parent_id VARCHAR(140) REFERENCES spaces (id),
    chain JSON NOT NULL,
    owner TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (name, generation)
);
CREATE INDEX ix_spaces_parent_id ON spaces (parent_id);
CREATE TABLE space_events (
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    event VARCHAR(20) NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (space_id, event)
);
CREATE TABLE edits (
    id VARCHAR(40) NOT NULL PRIMARY KEY,
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    created_at DOUBLE PRECISION NOT NULL,
    principal TEXT NOT NULL,
    kind VARCHAR(20) NOT NULL,
    method TEXT NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    request JSON NOT NULL,
    artefact VARCHAR(64),
    base_version INTEGER NOT NULL,
    writer TEXT NOT NULL
);
CREATE INDEX ix_edits_space_id ON edits (space_id);
CREATE TABLE outcomes (
    edit_id VARCHAR(40) NOT NULL PRIMARY KEY REFERENCES edits (id),
    outcome VARCHAR(20) NOT NULL,
    reason TEXT NOT NULL,
    evidence JSON,
    timings JSON NOT NULL,
    supersedes JSON NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE TABLE versions (
    space_id VARCHAR(140) NOT NULL REFERENCES spaces (id),
    version INTEGER NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    live JSON NOT NULL,
    reason TEXT NOT NULL,
    edit_id VARCHAR(40) REFERENCES edits (id),
    created_at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (space_id, version)
);
CREATE TABLE job_events (
    job_id VARCHAR(40) NOT NULL,
    step INTEGER NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    space VARCHAR(120),
    kind TEXT NOT NULL,
    state VARCHAR(20) NOT NULL,
    progress DOUBLE PRECISION NOT NULL,
    message TEXT NOT NULL,
    result JSON,
    writer TEXT NOT NULL,
    PRIMARY KEY (job_id, step)
);
CREATE INDEX ix_job_events_space ON job_events (space);
"""


def upgrade(connection: Connection) -> None:
    """Create the tables, in SQL that SQLite and PostgreSQL share."""
    for statement in _TABLES.strip().removesuffix(";").split(";"):
        connection.execute(text(statement))
