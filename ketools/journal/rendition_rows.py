"""Reading and appending renditions: an edit's artefact computed anew for another model than it was made for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select

from ketools.core.errors import Conflict
from ketools.core.evidence import Evidence
from ketools.journal.records import Rendition
from ketools.journal.schema import renditions

LAST_NUMBER = select(func.max(renditions.c.number))


def last_number(connection: Connection) -> int:
    """The number of the newest rendition, 0 before the first."""
    return connection.execute(LAST_NUMBER).scalar() or 0


def insert_renditions(connection: Connection, made: Iterable[Rendition]) -> None:
    """Append renditions. Raises Conflict when an edit has one for that model."""
    for number, rendition in enumerate(made, start=last_number(connection) + 1):
        known = select(renditions.c.number).where(
            renditions.c.edit_id == rendition.edit_id, renditions.c.model == rendition.model
        )
        if connection.execute(known).first() is not None:
            raise Conflict(f"The edit {rendition.edit_id} was computed for this model meanwhile; look at it again.")
        evidence = rendition.evidence
        values: dict[str, Any] = {"number": number, "created_at": time.time()}
        values |= {name: getattr(rendition, name) for name in ("edit_id", "model", "form", "artefact")}
        values["evidence"] = None if evidence is None else evidence.model_dump(mode="json")
        connection.execute(insert(renditions).values(values))


def renditions_for(connection: Connection, model: str) -> dict[str, Rendition]:
    """The renditions for a model, by edit."""
    query = select(renditions).where(renditions.c.model == model)
    return {row.edit_id: _rendition(row) for row in connection.execute(query)}


def named_artefacts(connection: Connection) -> set[str]:
    """Hashes that renditions name: what a collection must keep."""
    return set(connection.execute(select(renditions.c.artefact)).scalars())


def _rendition(row: Row[Any]) -> Rendition:
    evidence = None if row.evidence is None else Evidence.model_validate(row.evidence)
    return Rendition(row.edit_id, row.model, row.form, row.artefact, evidence)
