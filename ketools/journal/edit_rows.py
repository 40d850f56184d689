"""Reading and appending the rows of edits and of their outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, or_, select

from ketools.core.errors import Conflict, Forbidden, InvalidRequest, NotFound, StorageError
from ketools.core.evidence import Evidence
from ketools.core.requests import Kind
from ketools.journal.records import EditRecord, Outcome, Space, name_of
from ketools.journal.redaction import redact_evidence, redact_request
from ketools.journal.schema import edits, outcomes

_OURS = [column.name for column in edits.c if column.name != "writer"]
_WITH_OUTCOME = select(edits, *(column.label(f"outcome_{column.name}") for column in outcomes.c)).outerjoin(
    outcomes, outcomes.c.edit_id == edits.c.id
)
_ONE = _WITH_OUTCOME.where(edits.c.id == bindparam("edit_id"))
_MANY = _WITH_OUTCOME.where(edits.c.id.in_(bindparam("edit_ids", expanding=True)))
_CONSOLIDATES = "consolidates "
_CHUNK = 500  # variables in one statement; SQLite before 3.32 takes 999


def insert_edit(connection: Connection, space: Space, record: EditRecord, writer: str) -> EditRecord:
    """Append an edit without an outcome; the request of an erasure is redacted whatever the caller did."""
    record = replace(record, request=redact_request(record.kind, record.request), space_id=space.id)
    values = {name: getattr(record, name) for name in _OURS}
    values |= {"writer": writer, "kind": str(record.kind)}
    connection.execute(insert(edits).values(values))
    return record


def find_edit(connection: Connection, edit_id: str) -> EditRecord:
    """One edit with its outcome. Raises NotFound with near ids."""
    row = connection.execute(_ONE, {"edit_id": edit_id}).one_or_none()
    if row is None:
        newest = select(edits.c.id).order_by(edits.c.id.desc()).limit(300)
        raise NotFound("edit", edit_id, connection.execute(newest).scalars())
    return _record(row)


def find_edits(connection: Connection, edit_ids: Sequence[str]) -> list[EditRecord]:
    """Edits with their outcomes, in the order of the ids. Raises NotFound for the first unknown one."""
    found: dict[str, EditRecord] = {}
    for chunk in chunks(edit_ids):
        rows = connection.execute(_MANY, {"edit_ids": list(chunk)})
        found |= {row.id: _record(row) for row in rows}
    return [found[edit_id] if edit_id in found else find_edit(connection, edit_id) for edit_id in edit_ids]


def live_edits(connection: Connection, edit_ids: Sequence[str]) -> list[EditRecord]:
    """The edits that versions name. Raises StorageError for one that the journal has lost."""
    try:
        return find_edits(connection, edit_ids)
    except NotFound as error:
        raise StorageError(
            f"A version names the edit {error.name}, which is not in the journal any more: the journal was damaged. "
            "Restore it from a backup, or set the space back to a version of before (restore_space)."
        ) from error


def check_no_erasure_is_lifted(
    connection: Connection, space: Space, before: Sequence[str], live: Sequence[str]
) -> None:
    """Raise Forbidden when an erasure that was live would not be, nor a later one of the same fact."""
    kept = set(live)
    gone = [edit_id for edit_id in before if edit_id not in kept]
    lifted = {r.key_hash: r.id for r in _those_known(connection, gone) if r.kind is Kind.ERASE} if gone else {}
    if not lifted:
        return
    still = {r.key_hash for r in _those_known(connection, live) if r.kind is Kind.ERASE}
    for key_hash, edit_id in lifted.items():
        if key_hash not in still:
            raise would_lift(edit_id, space.name)


def would_lift(edit_id: str, space: str) -> Forbidden:
    """The refusal of what would bring an erased fact back."""
    return Forbidden(
        f"The edit {edit_id} erased a fact in {space!r}, and this would bring it back. Nothing was changed. "
        "It needs the scope 'erase': ask the operator for a token with it, or leave the erasure."
    )


def _those_known(connection: Connection, edit_ids: Sequence[str]) -> list[EditRecord]:
    rows = (row for chunk in chunks(edit_ids) for row in connection.execute(_MANY, {"edit_ids": list(chunk)}))
    return [_record(row) for row in rows]


def edit_ids(connection: Connection, space_id: str | None, after: str | None, limit: int) -> list[str]:
    """Ids of edits begun in a space (None: in any), newest first, older than `after`."""
    query = select(edits.c.id).order_by(edits.c.id.desc()).limit(limit)
    if space_id is not None:
        query = query.where(edits.c.space_id == space_id)
    if after is not None:
        query = query.where(edits.c.id < after)
    return list(connection.execute(query).scalars())


def consolidated_into(connection: Connection, note_id: str) -> list[str]:
    """Ids of the committed edits that consolidate a note."""
    same = or_(outcomes.c.consolidates == note_id, outcomes.c.reason == f"{_CONSOLIDATES}{note_id}")
    query = select(outcomes.c.edit_id).where(same, outcomes.c.outcome == "committed")
    return list(connection.execute(query).scalars())


def pending_edits(connection: Connection) -> list[tuple[EditRecord, str]]:
    """Edits without an outcome, oldest first, each with the writer that began it."""
    query = _WITH_OUTCOME.where(outcomes.c.edit_id.is_(None)).order_by(edits.c.id)
    return [(_record(row), row.writer) for row in connection.execute(query)]


def named_artefacts(connection: Connection) -> set[str]:
    """Hashes that committed or pending edits name: what a collection must keep."""
    query = select(edits.c.artefact).outerjoin(outcomes, outcomes.c.edit_id == edits.c.id)
    query = query.where(outcomes.c.outcome.is_(None) | (outcomes.c.outcome == "committed"))
    return set(connection.execute(query.where(edits.c.artefact.is_not(None))).scalars())


def insert_outcome(connection: Connection, outcome: Outcome, space: Space | None = None) -> Outcome:
    """Append how an edit ended, once. `space`: where it must have begun.

    Raises NotFound for an unknown edit, Conflict when it has ended already.
    """
    record = find_edit(connection, outcome.edit_id)
    if record.outcome is not None:
        raise Conflict(
            f"The edit {record.id} has ended already ({record.outcome.outcome}: {record.outcome.reason}). "
            "Start a new edit."
        )
    if space is not None and record.space_id != space.id:
        raise InvalidRequest(f"The edit {record.id} was begun in {record.space!r}; commit it there.")
    if outcome.outcome == "committed" and record.artefact is None:
        raise InvalidRequest(f"The edit {record.id} has no artefact, so it cannot be committed.")
    if record.kind is Kind.ERASE and outcome.evidence is not None:
        outcome = replace(outcome, evidence=redact_evidence(outcome.evidence))
    outcome = replace(outcome, created_at=time.time())
    connection.execute(insert(outcomes).values(_outcome_values(outcome)))
    return outcome


def check_committed(connection: Connection, edit_ids: Iterable[str]) -> None:
    """Raise InvalidRequest unless every edit is committed: nothing else may be live."""
    for record in find_edits(connection, list(edit_ids)):
        if record.outcome is None or record.outcome.outcome != "committed":
            state = record.outcome.outcome if record.outcome else "pending"
            raise InvalidRequest(f"The edit {record.id} is {state}, so it cannot be live. Commit it first.")


def chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    """Ids in portions that one statement can take."""
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]


def _record(row: Row[Any]) -> EditRecord:
    values = {name: getattr(row, name) for name in _OURS}
    values |= {"kind": Kind(row.kind), "space": name_of(row.space_id)}
    return EditRecord(**values, outcome=_outcome(row) if row.outcome_edit_id is not None else None)


def _outcome(row: Row[Any]) -> Outcome:
    evidence = row.outcome_evidence
    return Outcome(
        edit_id=row.id,
        outcome=row.outcome_outcome,
        reason=row.outcome_reason,
        evidence=None if evidence is None else Evidence.model_validate(evidence),
        timings=row.outcome_timings,
        supersedes=tuple(row.outcome_supersedes),
        created_at=row.outcome_created_at,
        consolidates=row.outcome_consolidates or _consolidated_before(row.outcome_reason),
    )


def _consolidated_before(reason: str) -> str | None:
    """The note that an outcome of before schema version 4 names in its reason alone: rows are never updated."""
    return reason.removeprefix(_CONSOLIDATES) if reason.startswith(_CONSOLIDATES) else None


def _outcome_values(outcome: Outcome) -> dict[str, Any]:
    evidence = outcome.evidence
    return {
        "edit_id": outcome.edit_id,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "evidence": None if evidence is None else evidence.model_dump(mode="json"),
        "timings": dict(outcome.timings),
        "supersedes": list(outcome.supersedes),
        "created_at": outcome.created_at,
        "consolidates": outcome.consolidates,
    }
