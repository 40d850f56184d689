"""Reading and appending the events of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, insert, select

from ketools.errors import Conflict, NotFound
from ketools.journal.records import FINAL, Job
from ketools.journal.schema import job_events


def insert_event(connection: Connection, event: Job, writer: str) -> Job:
    """Append a job's new state (its `created_at` is the first event's). Raises Conflict when it has ended."""
    first, last = _ends(connection, event.id)
    if last is not None and last.state in FINAL:
        raise Conflict(f"The job {event.id} has ended already ({last.state}); start a new one.")
    values = {name: getattr(event, name) for name in ("space", "kind", "state", "progress", "message")}
    values |= {"job_id": event.id, "step": last.step + 1 if last else 0, "created_at": event.updated_at}
    values |= {"result": None if event.result is None else dict(event.result), "writer": writer}
    connection.execute(insert(job_events).values(values))
    return replace(event, created_at=first.created_at if first else event.updated_at)


def find_job(connection: Connection, job_id: str) -> Job:
    """A job's latest state. Raises NotFound with near ids."""
    first, last = _ends(connection, job_id)
    if first is None or last is None:
        newest = select(job_events.c.job_id).where(job_events.c.step == 0)
        newest = newest.order_by(job_events.c.job_id.desc()).limit(300)
        raise NotFound("job", job_id, connection.execute(newest).scalars())
    return _job(last, first.created_at)


def find_jobs(connection: Connection, space: str | None, limit: int) -> list[Job]:
    """The latest state of jobs, those with the newest event first."""
    query = _latest()
    if space is not None:
        query = query.where(job_events.c.space == space)
    rows = connection.execute(query.order_by(job_events.c.created_at.desc()).limit(limit)).all()
    begun = _begun(connection, [row.job_id for row in rows])
    return [_job(row, begun[row.job_id]) for row in rows]


def unfinished_jobs(connection: Connection) -> list[tuple[Job, str]]:
    """Jobs that have not ended, each with the writer of its latest event."""
    rows = connection.execute(_latest().where(job_events.c.state.not_in(sorted(FINAL)))).all()
    return [(_job(row, row.created_at), row.writer) for row in rows]


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


def _begun(connection: Connection, job_ids: Sequence[str]) -> dict[str, float]:
    query = select(job_events.c.job_id, job_events.c.created_at).where(job_events.c.step == 0)
    return {row.job_id: row.created_at for row in connection.execute(query.where(job_events.c.job_id.in_(job_ids)))}


def _job(row: Row[Any], created_at: float) -> Job:
    return Job(
        row.job_id,
        row.space,
        row.kind,
        row.state,
        row.progress,
        row.message,
        row.result,
        created_at,
        row.created_at,
    )
