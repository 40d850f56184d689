"""Lets changes pass that need no person, and holds the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketools.core.errors import ApprovalNeeded, Forbidden
from ketools.core.principals import Presence, Principal, Provenance
from ketools.service.changes import Change
from ketools.service.policy import Decision, EditPolicy

if TYPE_CHECKING:
    from ketools.service.spaces import SpaceAccess

HELD = (
    "Nothing was changed: a person has to approve this first, since {because}. It waits as {id}; the operator runs "
    "`ketools approve {id}`. Tell the user, and do not try it another way."
)
NOT_KEPT = (
    "Nothing was changed: a person has to approve this, since {because}. What an erasure names is not kept, so it "
    "cannot wait: the operator runs `ketools erase`, or the user takes a client that can ask."
)


@dataclass(frozen=True)
class Gate:
    """Holds what an edit policy holds; a client that can ask its user does so itself."""

    policy: EditPolicy
    spaces: SpaceAccess

    def check(self, who: Principal, change: Change, by: Provenance, dry_run: bool = False) -> None:
        """Pass, or raise `ApprovalNeeded` with the change journalled as a proposal, or `Forbidden`.

        A dry run needs nobody.
        """
        decision, because = self.policy.decide(who, change)
        if decision is Decision.FORBID:
            raise Forbidden(f"The operator's edit policy forbids agents to {change.told()}, since {because}.")
        if decision is Decision.ASK and not dry_run:
            raise ApprovalNeeded(self._held(who, change, by, because), change.told(), because)

    def _held(self, who: Principal, change: Change, by: Provenance, because: str) -> str:
        if who.presence is Presence.ASKABLE:
            return f"A person has to approve this first, since {because}."
        if change.action == "erase":
            return NOT_KEPT.format(because=because)
        self.spaces.ensure(who, change.space)
        proposal = self.spaces.backend.journal.proposals.add(change.space, by, change.stored(), because)
        return HELD.format(because=because, id=proposal.id)
