"""Reading and appending the rows of spaces."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, select

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.space_names import ROOT, check_space_name
from ketools.journal.records import Space, name_of
from ketools.journal.schema import job_events, space_events, spaces

MAX_DEPTH = 16
_LIVING = (
    select(spaces)
    .outerjoin(space_events, and_(space_events.c.space_id == spaces.c.id, space_events.c.event == "dropped"))
    .where(space_events.c.space_id.is_(None))
)
_NAMED = _LIVING.where(spaces.c.name == bindparam("space_name"))


def all_spaces(connection: Connection, owner: str | None = None) -> list[Space]:
    """The spaces that are not dropped, by name; only an owner's when given."""
    query = _LIVING.order_by(spaces.c.name)
    if owner is not None:
        query = query.where(spaces.c.owner == owner)
    return [_space(row) for row in connection.execute(query)]


def find_space(connection: Connection, name: str) -> Space:
    """The space of a name. Raises NotFound with near names."""
    row = connection.execute(_NAMED, {"space_name": name}).one_or_none()
    if row is None:
        newest = _LIVING.with_only_columns(spaces.c.name).order_by(spaces.c.created_at.desc()).limit(200)
        raise NotFound("space", name, connection.execute(newest).scalars())
    return _space(row)


def is_living(connection: Connection, name: str) -> bool:
    """Whether there is a space of that name."""
    return connection.execute(_NAMED, {"space_name": name}).first() is not None


def insert_space(connection: Connection, name: str, parent: str | None, owner: str | None) -> Space:
    """Append a space. Raises InvalidRequest for a bad, taken or cyclic name, NotFound for the parent."""
    check_space_name(name)
    if is_living(connection, name):
        raise InvalidRequest(f"There is a space named {name!r} already: use it, or choose another name.")
    if name == parent:
        raise InvalidRequest(f"The space {name!r} cannot be its own parent; name another one, e.g. {ROOT!r}.")
    above = find_space(connection, parent) if parent is not None else None
    if above is not None and len(above.chain_ids) >= MAX_DEPTH:
        raise InvalidRequest(f"{parent!r} is {MAX_DEPTH} spaces deep already; choose a parent nearer to the root.")
    used = connection.execute(select(func.count()).select_from(spaces).where(spaces.c.name == name)).scalar_one()
    row: dict[str, Any] = {"id": f"{name}#{used + 1}", "name": name, "generation": used + 1, "owner": owner}
    row |= {"parent_id": above.id if above else None, "created_at": _after_every_job(connection)}
    row |= {"chain": [*(above.chain_ids if above else ()), row["id"]]}
    connection.execute(insert(spaces).values(row))
    return Space(row["id"], name, parent, owner, row["created_at"], tuple(row["chain"]))


def _after_every_job(connection: Connection) -> float:
    """Now, or later where the clock was set back: a job belongs to the space of its name that was there before it."""
    newest = connection.execute(select(func.max(job_events.c.created_at))).scalar() or 0.0
    return max(time.time(), newest + 1e-3)


def children(connection: Connection, space: Space) -> list[Space]:
    """The living spaces directly below one."""
    query = _LIVING.where(spaces.c.parent_id == space.id).order_by(spaces.c.name)
    return [_space(row) for row in connection.execute(query)]


def family(connection: Connection, space: Space) -> Iterator[Space]:
    """All living descendants, deepest first, then the space itself."""
    for child in children(connection, space):
        yield from family(connection, child)
    yield space


def mark_dropped(connection: Connection, space: Space) -> None:
    """Append the event that ends a space."""
    connection.execute(insert(space_events).values(space_id=space.id, event="dropped", created_at=time.time()))


def _space(row: Row[Any]) -> Space:
    parent = name_of(row.parent_id) if row.parent_id else None
    return Space(row.id, row.name, parent, row.owner, row.created_at, tuple(row.chain))
