"""Reading and appending proposals, changes that wait for an approval, and the decisions about them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from ketools.core.errors import Conflict, NotFound
from ketools.core.principals import Provenance
from ketools.journal.records import Decision, Proposal, Space, name_of
from ketools.journal.schema import decisions, proposals

_WITH_DECISION = select(proposals, *(column.label(f"decision_{column.name}") for column in decisions.c)).outerjoin(
    decisions, decisions.c.proposal_id == proposals.c.id
)


def insert_proposal(connection: Connection, space: Space, proposal: Proposal) -> Proposal:
    """Append a proposal."""
    values = {"id": proposal.id, "space_id": space.id, "created_at": proposal.created_at, **_by(proposal.by)}
    values |= {"change": dict(proposal.change), "because": proposal.because}
    connection.execute(insert(proposals).values(values))
    return proposal


def insert_decision(connection: Connection, decision: Decision) -> Decision:
    """Append what was decided, once. Raises NotFound for an unknown proposal, Conflict for one that is decided."""
    known = find_proposal(connection, decision.proposal_id).decision
    if known is not None:
        state = "approved" if known.approved else "rejected"
        raise Conflict(f"{decision.proposal_id} was {state} by {known.by.principal} already; nothing was done.")
    decision = replace(decision, created_at=time.time())
    values = {"proposal_id": decision.proposal_id, "approved": int(decision.approved), **_by(decision.by)}
    connection.execute(insert(decisions).values({**values, "created_at": decision.created_at}))
    return decision


def find_proposal(connection: Connection, proposal_id: str) -> Proposal:
    """One proposal. Raises NotFound with near ids."""
    row = connection.execute(_WITH_DECISION.where(proposals.c.id == proposal_id)).one_or_none()
    if row is None:
        newest = select(proposals.c.id).order_by(proposals.c.id.desc()).limit(300)
        raise NotFound("proposal", proposal_id, connection.execute(newest).scalars())
    return _proposal(row)


def open_proposals(connection: Connection, space: Space) -> list[Proposal]:
    """The proposals of a space that nobody has decided about, oldest first."""
    query = _WITH_DECISION.where(proposals.c.space_id == space.id, decisions.c.proposal_id.is_(None))
    return [_proposal(row) for row in connection.execute(query.order_by(proposals.c.id))]


def all_proposals(connection: Connection) -> list[Proposal]:
    """Every proposal, in the order of time."""
    return [_proposal(row) for row in connection.execute(_WITH_DECISION.order_by(proposals.c.created_at))]


def is_of(connection: Connection, proposal_id: str, space: Space) -> bool:
    """Whether the proposal was made for this very generation of the space."""
    query = select(proposals.c.space_id).where(proposals.c.id == proposal_id)
    return connection.execute(query).scalar() == space.id


def _by(by: Provenance) -> dict[str, str]:
    return {"principal": by.principal, "client": by.client, "why": by.why}


def _proposal(row: Row[Any]) -> Proposal:
    return Proposal(
        id=row.id,
        space=name_of(row.space_id),
        created_at=row.created_at,
        by=Provenance(row.principal, row.client, row.why),
        change=row.change,
        because=row.because,
        decision=_decision(row) if row.decision_proposal_id is not None else None,
    )


def _decision(row: Row[Any]) -> Decision:
    by = Provenance(row.decision_principal, row.decision_client, row.decision_why)
    return Decision(row.id, bool(row.decision_approved), by, row.decision_created_at)
