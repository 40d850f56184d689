"""Changes that agents asked for and a person decides about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from ketools.core.errors import Forbidden, NotFound
from ketools.core.principals import Presence, Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.results import ProposalList, ProposalView, Result
from ketools.journal import Proposal
from ketools.service.backend import Backend
from ketools.service.changes import Change
from ketools.service.edits import Edits
from ketools.service.spaces import SpaceAccess
from ketools.service.visibility import for_caller


@dataclass(frozen=True)
class Approvals:
    """List what waits for approval, approve it or reject it."""

    backend: Backend
    edits: Edits
    spaces: SpaceAccess

    def waiting(self, who: Principal) -> ProposalList:
        """What waits in the spaces that the principal owns, oldest first."""
        who.require_scope(Scope.READ)
        own = [space.name for space in self.backend.journal.spaces() if who.owns(space.name)]
        found = [one for name in own for one in self.backend.journal.proposals.waiting(name)]
        return ProposalList(proposals=tuple(_view(one) for one in sorted(found, key=lambda one: one.id)))

    @for_caller
    def decide(
        self, who: Principal, proposal_id: str, approve: bool, reason: str = "", progress: Progress = quiet
    ) -> ProposalView:
        """Approve a change, which is then carried out with the rights of who approves it, or reject it.

        Raises `Forbidden` for an agent without the scope `approve`, and about its own proposals; `NotFound`; `Conflict`
        when it was decided about before. What carrying it out raises leaves it decided: it has to be asked for anew.
        """
        proposal = self._seen(who, proposal_id)
        if not who.approves(proposal.by.principal):
            raise Forbidden(
                "An agent cannot decide about this: a person does, by `ketools approve` or `ketools reject`, or "
                "somebody else than who asked, by a token with the scope 'approve'."
            )
        who.require(Scope.EDIT, proposal.space)
        if approve and proposal.change["requests"]:
            self.backend.runtime(progress)  # what cannot be carried out now is not decided
        decision = self.backend.journal.proposals.decide(proposal_id, approve, who.by(reason))
        decided = replace(proposal, decision=decision)
        if not approve:
            return _view(decided)
        result = self._carry_out(who, proposal, progress)
        return _view(decided).model_copy(update={"outcome": result.line(), "result": result.model_dump(mode="json")})

    def _seen(self, who: Principal, proposal_id: str) -> Proposal:
        proposal = self.backend.journal.proposals.find(proposal_id)
        if not who.owns(proposal.space):
            raise NotFound("proposal", proposal_id)
        return proposal

    def _carry_out(self, who: Principal, proposal: Proposal, progress: Progress) -> Result:
        """As the one who asked for it, with the rights of the one who approved it."""
        asker = replace(who, name=proposal.by.principal, client=proposal.by.client, presence=Presence.PERSON)
        change, why = Change.read(proposal.space, proposal.change), proposal.by.why
        if change.action == "undo":
            return self.edits.undo(asker, reason=why, **change.options)
        if change.action == "restore":
            return self.spaces.restore(asker, change.space, change.options["version"], why)
        batch = self.edits.carry_out(asker, change, progress, why)
        return batch.results[0] if len(batch.results) == 1 else batch


def _view(proposal: Proposal) -> ProposalView:
    decision = proposal.decision
    return ProposalView(
        proposal_id=proposal.id,
        space=proposal.space,
        change=Change.read(proposal.space, proposal.change).told(),
        state="waiting" if decision is None else "approved" if decision.approved else "rejected",
        asked_by=proposal.by.principal,
        client=proposal.by.client,
        why=proposal.by.why,
        because=proposal.because,
        created_at=datetime.fromtimestamp(proposal.created_at, UTC).isoformat(timespec="milliseconds"),
    )
