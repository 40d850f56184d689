"""Changes that wait for a person's approval."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ketools.core.errors import Conflict, NotFound
from ketools.core.principals import Provenance
from ketools.journal import proposal_rows, space_rows
from ketools.journal.audit import Listener, decision_event, nobody, proposal_event
from ketools.journal.database import Database
from ketools.journal.records import Decision, Ids, Proposal

MOST = 100
"""How many changes of one caller may wait for approval in a space."""


@dataclass(frozen=True)
class Proposals:
    """The part of a journal that keeps proposals and what was decided about them."""

    db: Database
    ids: Ids
    listener: Listener = nobody

    def add(self, space: str, by: Provenance, change: Mapping[str, Any], because: str) -> Proposal:
        """Write down a change that waits for an approval; the same one of the same caller is written once.

        Raises NotFound for an unknown space, Conflict when too many of the caller's wait already.
        """

        def work(connection: Connection) -> tuple[Proposal, bool]:
            found = space_rows.find_space(connection, space)
            waiting = [p for p in proposal_rows.open_proposals(connection, found) if p.by.principal == by.principal]
            if same := [p for p in waiting if p.change == change]:
                return same[0], False
            if len(waiting) >= MOST:
                raise Conflict(f"{len(waiting)} changes of {by.principal} wait for approval in {space!r}: no more now.")
            proposal = Proposal(self.ids.new("p"), found.name, time.time(), by, change, because)
            return proposal_rows.insert_proposal(connection, found, proposal), True

        proposal, is_new = self.db.write(work)
        if is_new:
            self.listener(proposal_event(proposal))
        return proposal

    def find(self, proposal_id: str) -> Proposal:
        """One proposal with its decision. Raises NotFound, also when its space was dropped."""

        def work(connection: Connection) -> Proposal:
            proposal = proposal_rows.find_proposal(connection, proposal_id)
            if not proposal_rows.is_of(connection, proposal_id, space_rows.find_space(connection, proposal.space)):
                raise NotFound("proposal", proposal_id)
            return proposal

        return self.db.read(work)

    def waiting(self, space: str) -> list[Proposal]:
        """The proposals of a space that nobody has decided about, oldest first."""
        return self.db.read(
            lambda connection: proposal_rows.open_proposals(connection, space_rows.find_space(connection, space))
        )

    def decide(self, proposal_id: str, approved: bool, by: Provenance) -> Decision:
        """Append what was decided about a proposal. Raises Conflict when that was done before."""
        decision = Decision(proposal_id, approved, by)
        decided = self.db.write(lambda connection: proposal_rows.insert_decision(connection, decision))
        self.listener(decision_event(decided))
        return decided
