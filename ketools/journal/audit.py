"""The journal as an audit reads it: who did what, when, through which client and why, one event per row.

An erasure's texts are not there, since the journal does not keep them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, select

from ketools.core.principals import Provenance
from ketools.journal import edit_rows, proposal_rows, version_rows
from ketools.journal.database import Database
from ketools.journal.records import Decision, EditRecord, Proposal, Version
from ketools.journal.schema import edits, versions

Event = dict[str, Any]
Listener = Callable[[Mapping[str, Any]], None]


def nobody(event: Mapping[str, Any]) -> None:
    """Listens to no event."""


def version_event(version: Version) -> Event:
    """A space got a version: what is live in it now."""
    told = {"space": version.space, "version": version.version, "reason": version.reason, "edit_id": version.edit_id}
    return _event("version", version.created_at, version.by, {**told, "live": list(version.live)})


def edit_event(record: EditRecord) -> Event:
    """An edit was begun, and how it ended."""
    end = record.outcome
    evidence = end.evidence.model_dump(mode="json", exclude={"failures"}) if end and end.evidence else None
    told: Event = {"edit_id": record.id, "space": record.space, "kind": str(record.kind), "method": record.method}
    told |= {"request": dict(record.request), "outcome": end.outcome if end else "pending", "evidence": evidence}
    return _event("edit", record.created_at, Provenance(record.principal, record.client, record.why), told)


def proposal_event(proposal: Proposal) -> Event:
    """An agent asked for a change that needs a person."""
    told = {"proposal_id": proposal.id, "space": proposal.space, "because": proposal.because}
    return _event("proposal", proposal.created_at, proposal.by, {**told, "change": dict(proposal.change)})


def decision_event(decision: Decision) -> Event:
    """A proposal was decided about."""
    told = {"proposal_id": decision.proposal_id, "approved": decision.approved}
    return _event("decision", decision.created_at, decision.by, told)


def _event(name: str, at: float, by: Provenance | None, told: Event) -> Event:
    who = {"principal": by.principal, "client": by.client, "why": by.why} if by is not None else {"principal": None}
    return {"event": name, "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"), **who, **told}


@dataclass(frozen=True)
class Audit:
    """The part of a journal that tells its events."""

    db: Database

    def events(self, space: str | None = None, since: float = 0.0) -> list[Event]:
        """Every event of a space (None: of all) from a time on, in the order of time."""

        def work(connection: Connection) -> list[Event]:
            kinds = (_versions, _edits, _proposals)
            rows = heapq.merge(*(kind(connection, since) for kind in kinds), key=lambda event: event["at"])
            return list(rows)

        found = self.db.read(work)
        spaces = {event["proposal_id"]: event["space"] for event in found if event["event"] == "proposal"}
        return [e for e in found if space in (None, e.get("space") or spaces.get(e.get("proposal_id")))]


def _versions(connection: Connection, since: float) -> list[Event]:
    query = select(versions).where(versions.c.created_at >= since).order_by(versions.c.created_at)
    return [version_event(version_rows.version_of(row)) for row in connection.execute(query)]


def _edits(connection: Connection, since: float) -> list[Event]:
    query = select(edits.c.id).where(edits.c.created_at >= since).order_by(edits.c.created_at)
    ids = list(connection.execute(query).scalars())
    return [edit_event(record) for record in edit_rows.find_edits(connection, ids)]


def _proposals(connection: Connection, since: float) -> list[Event]:
    """Proposals, and the decisions about them."""
    found = proposal_rows.all_proposals(connection)
    told = [(one.created_at, proposal_event(one)) for one in found]
    told += [(one.decision.created_at, decision_event(one.decision)) for one in found if one.decision is not None]
    return [event for at, event in sorted(told, key=lambda pair: pair[0]) if at >= since]
