"""Reading and appending the events of jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, insert, select

from ketools.core.errors import Conflict, NotFound
from ketools.journal.edit_rows import chunks
from ketools.journal.records import FINAL, Job
from ketools.journal.schema import job_events, spaces


def insert_event(connection: Connection, event: Job, *, take_over: bool = False) -> Job:
    """Append a job's new state (its `created_at` and arguments are the first event's).

    Raises Conflict when it has ended, or when another writer runs it, unless this one is to `take_over`.
    """
    first, last = _ends(connection, event.id)
    if last is not None and last.state in FINAL:
        raise Conflict(f"The job {event.id} has ended already ({last.state}); start a new one.")
    if last is not None and last.writer != event.writer and not take_over:
        raise Conflict(f"The job {event.id} is run by another server now; job_status tells how it stands.")
    values = {name: getattr(event, name) for name in ("space", "kind", "state", "progress", "message", "writer")}
    if first is None and event.space is not None:
        event = replace(event, updated_at=max(event.updated_at, _made(connection, event.space)))
    values |= {"job_id": event.id, "step": last.step + 1 if last else 0, "created_at": event.updated_at}
    values |= {"result": _plain(event.result), "arguments": None if last else _plain(event.arguments)}
    connection.execute(insert(job_events).values(values))
    if first is None:
        return replace(event, created_at=event.updated_at)
    return replace(event, created_at=first.created_at, arguments=first.arguments)


def _made(connection: Connection, space: str) -> float:
    """When the newest space of a name was made: a job is never older than its space, also by a clock set back."""
    query = select(func.max(spaces.c.created_at)).where(spaces.c.name == space)
    return connection.execute(query).scalar() or 0.0


def _plain(mapping: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if mapping is None else dict(mapping)


def find_job(connection: Connection, job_id: str) -> Job:
    """A job's latest state. Raises NotFound with near ids."""
    first, last = _ends(connection, job_id)
    if first is None or last is None:
        newest = select(job_events.c.job_id).where(job_events.c.step == 0)
        newest = newest.order_by(job_events.c.job_id.desc()).limit(300)
        raise NotFound("job", job_id, connection.execute(newest).scalars())
    return _job(last, first)


def find_jobs(connection: Connection, space: str | None, limit: int) -> list[Job]:
    """The latest state of jobs, those with the newest event first."""
    query = _latest()
    if space is not None:
        query = query.where(job_events.c.space == space)
    rows = connection.execute(query.order_by(job_events.c.created_at.desc()).limit(limit)).all()
    return _with_first(connection, rows)


def unfinished_jobs(connection: Connection) -> list[Job]:
    """Jobs that have not ended, oldest first."""
    query = _latest().where(job_events.c.state.not_in(sorted(FINAL)))
    return sorted(_with_first(connection, connection.execute(query).all()), key=lambda job: job.created_at)


def _with_first(connection: Connection, rows: Sequence[Row[Any]]) -> list[Job]:
    begun: dict[str, Row[Any]] = {}
    for ids in chunks([row.job_id for row in rows]):
        query = select(job_events).where(job_events.c.step == 0, job_events.c.job_id.in_(ids))
        begun |= {row.job_id: row for row in connection.execute(query)}
    return [_job(row, begun[row.job_id]) for row in rows]


def _latest() -> Select[Any]:
    last = select(job_events.c.job_id, func.max(job_events.c.step).label("step"))
    newest = last.group_by(job_events.c.job_id).subquery()
    same = and_(job_events.c.job_id == newest.c.job_id, job_events.c.step == newest.c.step)
    return select(job_events).join(newest, same)


def _ends(connection: Connection, job_id: str) -> tuple[Row[Any] | None, Row[Any] | None]:
    query = select(job_events).where(job_events.c.job_id == job_id)
    first = connection.execute(query.order_by(job_events.c.step).limit(1)).one_or_none()
    last = connection.execute(query.order_by(job_events.c.step.desc()).limit(1)).one_or_none()
    return first, last


def _job(row: Row[Any], first: Row[Any]) -> Job:
    return Job(
        row.job_id,
        row.space,
        row.kind,
        row.state,
        row.progress,
        row.message,
        row.result,
        first.created_at,
        row.created_at,
        first.arguments,
        row.writer,
    )
