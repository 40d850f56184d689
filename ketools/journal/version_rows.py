"""Reading and appending the rows of versions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select

from ketools.core.errors import HeadMoved, InvalidRequest, NotFound, StorageError
from ketools.core.principals import Provenance
from ketools.journal.edit_rows import check_committed, check_no_erasure_is_lifted, chunks, insert_outcome
from ketools.journal.records import Outcome, Space, Version, name_of
from ketools.journal.schema import edits, versions

_LAST_NUMBER = 2**31 - 1  # of an INTEGER column
LAST_SEQUENCE = select(func.max(versions.c.sequence))
"""The number of the journal's newest version."""
_NEWEST = (
    select(versions.c.space_id, func.max(versions.c.version).label("version"))
    .where(versions.c.space_id.in_(bindparam("space_ids", expanding=True)))
    .group_by(versions.c.space_id)
    .subquery()
)
_HEADS = select(versions).join(
    _NEWEST, and_(versions.c.space_id == _NEWEST.c.space_id, versions.c.version == _NEWEST.c.version)
)


def heads(connection: Connection, space_ids: Sequence[str]) -> list[Version]:
    """The newest version of each space, in the order of the ids (one query for up to 500)."""
    found = {head.space_id: version_of(head) for chunk in chunks(space_ids) for head in _heads(connection, chunk)}
    if lost := [name_of(space_id) for space_id in space_ids if space_id not in found]:
        raise StorageError(
            f"The space {lost[0]!r} has no version in the journal: the journal was damaged. Restore it from a backup."
        )
    return [found[space_id] for space_id in space_ids]


def _heads(connection: Connection, space_ids: Sequence[str]) -> Sequence[Row[Any]]:
    return connection.execute(_HEADS, {"space_ids": list(space_ids)}).all()


def find_version(connection: Connection, space: Space, number: int) -> Version:
    """One version. Raises NotFound telling the head."""
    query = select(versions).where(versions.c.space_id == space.id, versions.c.version == number)
    row = connection.execute(query).one_or_none() if 0 <= number <= _LAST_NUMBER else None
    if row is None:
        head = heads(connection, [space.id])[0].version
        raise NotFound(f"version of {space.name!r}", str(number), [f"0 to {head}"])
    return version_of(row)


def versions_of(connection: Connection, space: Space, limit: int | None) -> list[Version]:
    """A space's versions, newest first."""
    query = select(versions).where(versions.c.space_id == space.id).order_by(versions.c.version.desc())
    return [version_of(row) for row in connection.execute(query.limit(limit))]


def was_live(connection: Connection, space: Space, edit_id: str) -> bool:
    """Whether any version of the space named the edit."""
    query = select(versions.c.live).where(versions.c.space_id == space.id).order_by(versions.c.version.desc())
    with connection.execute(query.execution_options(yield_per=8)) as rows:
        return any(edit_id in live for live in rows.scalars())


def live_before(connection: Connection, edit_id: str) -> tuple[str, ...]:
    """What was live in an edit's space just before the edit was committed; empty if it never was."""
    begun = connection.execute(select(edits.c.space_id, edits.c.base_version).where(edits.c.id == edit_id)).one()
    query = select(versions).where(versions.c.space_id == begun.space_id)
    query = query.where(versions.c.version >= begun.base_version).order_by(versions.c.version)
    before: tuple[str, ...] = ()
    with connection.execute(query.execution_options(yield_per=8)) as rows:  # it is among the first as a rule
        for row in rows:
            if edit_id in row.live:
                return before
            before = tuple(row.live)
    return ()


def append_version(
    connection: Connection,
    space: Space,
    expected: int,
    live: Sequence[str],
    reason: str,
    edit_id: str | None = None,
    outcomes: Sequence[Outcome] = (),
    *,
    lift: bool = False,
    by: Provenance | None = None,
) -> Version:
    """Append the version after `expected`, and how its edits ended.

    `lift`: whether erasures may end by it. Raises HeadMoved when `expected` is not the head, Forbidden when an
    erasure would end.
    """
    head = heads(connection, [space.id])[0]
    if head.version != expected:
        raise HeadMoved(
            f"The space {space.name!r} moved from version {expected} to {head.version} meanwhile; "
            "nothing was written. Look at it and call again."
        )
    if len(set(live)) != len(live):
        raise InvalidRequest("An edit is named twice in the live list; name each once.")
    for outcome in outcomes:
        insert_outcome(connection, outcome, space)
    if not lift:
        check_no_erasure_is_lifted(connection, space, head.live, live)
    known = {*head.live, *(outcome.edit_id for outcome in outcomes if outcome.outcome == "committed")}
    check_committed(connection, [new for new in live if new not in known])
    return insert_version(connection, space, expected + 1, live, reason, edit_id, by)


def insert_version(
    connection: Connection,
    space: Space,
    number: int,
    live: Sequence[str] = (),
    reason: str = "created",
    edit_id: str | None = None,
    by: Provenance | None = None,
) -> Version:
    """Append a version row; its primary key lets only one writer do so."""
    version = Version(space.name, number, tuple(live), reason, edit_id, time.time(), last_sequence(connection) + 1, by)
    connection.execute(
        insert(versions).values(
            space_id=space.id,
            version=number,
            sequence=version.sequence,
            live=list(live),
            reason=reason,
            edit_id=edit_id,
            created_at=version.created_at,
            principal=by.principal if by else None,
            client=by.client if by else None,
            why=by.why if by else None,
        )
    )
    return version


def last_sequence(connection: Connection) -> int:
    """The number of the journal's newest version, 0 before the first."""
    return connection.execute(LAST_SEQUENCE).scalar() or 0


def version_of(row: Row[Any]) -> Version:
    """The version that a row holds."""
    return Version(
        name_of(row.space_id),
        row.version,
        tuple(row.live),
        row.reason,
        row.edit_id,
        row.created_at,
        row.sequence,
        Provenance(row.principal, row.client or "", row.why or "") if row.principal is not None else None,
    )
