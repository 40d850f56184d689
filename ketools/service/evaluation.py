"""Measures on the serving engine: edits and spaces verified again, methods compared, facts located."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.core.jobs import COMPARE_METHODS, EVALUATE_SPACE
from ketools.core.principals import Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.requests import REFUSAL, EditRequest, Kind, build_request
from ketools.core.results import EditResult, JobView, Location
from ketools.journal import ROOT
from ketools.methods.registry import get_method, methods
from ketools.service.backend import Backend
from ketools.service.jobs import Jobs
from ketools.service.spaces import SpaceAccess
from ketools.service.visibility import Visibility, for_caller
from ketools.spaces.standing import standing_for


@dataclass(frozen=True)
class Evaluation:
    """Nothing here commits anything."""

    backend: Backend
    spaces: SpaceAccess
    jobs: Jobs

    @for_caller
    def edit(self, who: Principal, edit_id: str, progress: Progress = quiet) -> EditResult:
        """Verify a live edit again. An erased fact's text is not kept, so its stored evidence is told."""
        journal = self.backend.journal
        who.require_scope(Scope.READ)
        seen = Visibility(journal, who)
        record = seen.edit(edit_id)
        where = seen.place(record, None)
        current = standing_for(journal, record, where)
        stored = self.backend.spaces.evidence_of(current)
        common: dict[str, Any] = {
            "edit_id": current.id,
            "status": "committed",
            "space": where,
            "version": journal.head(where).version,
            "method": current.method,
        }
        if record.kind is Kind.ERASE:
            told = "The text of an erased fact is not kept: this is the evidence of its commit."
            return EditResult(**common, verified=True, before="", after=REFUSAL, evidence=stored, reason=told)
        self.backend.spaces.state(where)
        if objection := self.backend.spaces.objection(current):
            raise InvalidRequest(f"The edit {current.id} is not served, so there is nothing to verify. {objection}")
        runtime, request = self.backend.runtime(progress), EditRequest.model_validate(record.request)
        layer = runtime.spaces.layer(where)
        verdict = runtime.verifier.verify(request, layer.without(current.id), layer)
        objection = runtime.pipeline.policy.objection(request, verdict.evidence)
        return EditResult(
            **common,
            verified=not objection,
            before=verdict.before,
            after=verdict.after,
            evidence=verdict.evidence,
            reason=objection,
            next=f"Call undo_edit with {edit_id}." if objection else "",
        )

    @for_caller
    def space(self, who: Principal, space: str, wait: bool) -> JobView:
        """Verify every live edit of a space again, as a job."""
        who.require(Scope.READ, space)
        self.spaces.ensure_own(who, space)
        self.backend.journal.space(space)
        return self.jobs.submit(who, EVALUATE_SPACE, space, {}, wait)

    @for_caller
    def methods(
        self, who: Principal, facts: Sequence[Mapping[str, Any]], names: Sequence[str], space: str, wait: bool
    ) -> JobView:
        """Make the same edits by several methods on top of a space, as a job; nothing is committed."""
        who.require(Scope.EDIT, space)
        self.spaces.ensure_own(who, space)
        self.backend.journal.space(space)
        requests = [build_request(kind=Kind.MODIFY, **fact).model_dump(mode="json") for fact in facts]
        chosen = [get_method(name).name for name in names] or list(methods())
        return self.jobs.submit(who, COMPARE_METHODS, space, {"facts": requests, "methods": chosen}, wait)

    def locate(
        self,
        who: Principal,
        prompt: str,
        subject: str,
        answer: str | None,
        samples: int,
        progress: Progress = quiet,
    ) -> Location:
        """Where the base model reads a fact, traced on the editor's copy of the served weights.

        Raises `EngineRefused` when this process cannot read those weights.
        """
        who.require(Scope.READ, ROOT)
        return self.backend.runtime(progress).locate(prompt, subject, answer, samples, progress)
