"""The tables as the current code reads them. The migrations make them; a test compares the two.

Every table is append-only: no statement in ketools updates or deletes a row.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()
_json = JSON(none_as_null=True)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("applied_at", Double, nullable=False),
)

settings = Table(
    "settings",
    metadata,
    Column("name", String(60), primary_key=True),
    Column("value", Text, nullable=False),
)

# A name may be used again after its space was dropped: an id is `name#generation`.
spaces = Table(
    "spaces",
    metadata,
    Column("id", String(140), primary_key=True),
    Column("name", String(120), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("parent_id", String(140), ForeignKey("spaces.id"), index=True),
    Column("chain", _json, nullable=False),
    Column("owner", Text),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("name", "generation"),
)

space_events = Table(
    "space_events",
    metadata,
    Column("space_id", String(140), ForeignKey("spaces.id"), nullable=False),
    Column("event", String(20), nullable=False),
    Column("created_at", Double, nullable=False),
    PrimaryKeyConstraint("space_id", "event"),
)

edits = Table(
    "edits",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("space_id", String(140), ForeignKey("spaces.id"), nullable=False, index=True),
    Column("created_at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("method", Text, nullable=False),
    Column("key_hash", String(64), nullable=False),
    Column("request", _json, nullable=False),
    Column("artefact", String(64)),
    Column("base_version", Integer, nullable=False),
    Column("writer", Text, nullable=False),
    Column("key_rule", Integer, nullable=False),
    Column("model", String(64)),
    Column("form", String(60)),
    Column("client", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("prepared", String(64)),
)

outcomes = Table(
    "outcomes",
    metadata,
    Column("edit_id", String(40), ForeignKey("edits.id"), primary_key=True),
    Column("outcome", String(20), nullable=False),
    Column("reason", Text, nullable=False),
    Column("evidence", _json),
    Column("timings", _json, nullable=False),
    Column("supersedes", _json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("consolidates", String(40)),
)

# An edit computed anew for another model than the one that it was made for.
renditions = Table(
    "renditions",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("edit_id", String(40), ForeignKey("edits.id"), nullable=False),
    Column("model", String(64), nullable=False),
    Column("form", String(60), nullable=False),
    Column("artefact", String(64), nullable=False),
    Column("evidence", _json),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("edit_id", "model"),
)

versions = Table(
    "versions",
    metadata,
    Column("space_id", String(140), ForeignKey("spaces.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sequence", Integer, nullable=False, unique=True),
    Column("live", _json, nullable=False),
    Column("reason", Text, nullable=False),
    Column("edit_id", String(40), ForeignKey("edits.id")),
    Column("created_at", Double, nullable=False),
    Column("principal", Text),
    Column("client", Text),
    Column("why", Text),
    PrimaryKeyConstraint("space_id", "version"),
)

# What an agent may not change by itself, and what became of it.
proposals = Table(
    "proposals",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("space_id", String(140), ForeignKey("spaces.id"), nullable=False, index=True),
    Column("created_at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("change", _json, nullable=False),
    Column("because", Text, nullable=False),
)

decisions = Table(
    "decisions",
    metadata,
    Column("proposal_id", String(40), ForeignKey("proposals.id"), primary_key=True),
    Column("approved", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("principal", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("why", Text, nullable=False),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String(40), nullable=False),
    Column("step", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("space", String(120), index=True),
    Column("kind", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("progress", Double, nullable=False),
    Column("message", Text, nullable=False),
    Column("result", _json),
    Column("writer", Text, nullable=False),
    Column("arguments", _json),
    PrimaryKeyConstraint("job_id", "step"),
)
