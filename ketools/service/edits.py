"""Edits: make, undo, list, show and consolidate them; and the methods that make them.

Only making and consolidating edits needs the model; the rest reads and writes the journal alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ketools.core.errors import InvalidRequest, KetoolsError, LimitReached
from ketools.core.evidence import Evidence
from ketools.core.jobs import CONSOLIDATE, REBASE
from ketools.core.principals import Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS, REFUSAL, EditRequest, Kind, Trait, build_request
from ketools.core.results import (
    BatchResult,
    Configuration,
    EditPage,
    EditResult,
    EditView,
    JobView,
    MethodList,
    MethodView,
    UndoResult,
)
from ketools.knowledge.traits import OPINION_QUESTIONS, exemplar
from ketools.methods.base import Capability, Method
from ketools.methods.notes import NOTE_METHOD
from ketools.methods.registry import AUTO, get_method, methods
from ketools.service.backend import Backend
from ketools.service.changes import Change, edits_of
from ketools.service.jobs import Jobs
from ketools.service.spaces import SpaceAccess
from ketools.service.views import edit_result, edit_view, with_problems
from ketools.service.visibility import Visibility, for_caller
from ketools.spaces.standing import origin_of, standing_for

if TYPE_CHECKING:
    from ketools.editing.pipeline import EditOutcome

ROUTED = "routed"
"""What `auto` changes weights by for a fact where nothing was calibrated: its scope spares the rest."""
FOLLOWED = Evidence(success=1.0, success_n=0, locality=0.0, locality_n=0)
"""What a note must reach where routed weights would be taken else: they are as exact, and followed in every form."""
FALLBACK = "ft-m"
"""What `auto` changes weights by where nothing was calibrated: the survey's best overall."""


@dataclass(frozen=True)
class Edits:
    """What a principal can do with edits."""

    backend: Backend
    spaces: SpaceAccess
    jobs: Jobs

    # --- making ---

    @for_caller
    def edit(
        self,
        who: Principal,
        request: EditRequest,
        space: str,
        method: str = AUTO,
        dry_run: bool = False,
        progress: Progress = quiet,
        reason: str = "",
    ) -> EditResult:
        """Take one request down the pipeline; a refusal is a result, bad input is an error."""
        return self._make(who, [request], space, method, False, dry_run, progress, reason).results[0]

    @for_caller
    def edit_many(
        self,
        who: Principal,
        facts: Sequence[Mapping[str, Any]],
        space: str,
        method: str = AUTO,
        apply_valid: bool = False,
        dry_run: bool = False,
        progress: Progress = quiet,
        reason: str = "",
    ) -> BatchResult:
        """Take a batch down the pipeline: all or none, unless `apply_valid`."""
        requests: list[EditRequest] = []
        problems: dict[int, KetoolsError] = {}
        for i, fact in enumerate(facts):
            try:
                requests.append(build_request(kind=Kind.MODIFY, **fact))
            except InvalidRequest as error:
                problems[i] = error
        if problems and (not apply_valid or not requests):
            told = "; ".join(f"fact {i}: {e}" for i, e in list(problems.items())[:5])
            raise InvalidRequest(f"{len(problems)} of {len(facts)} facts are invalid, none applied. {told}")
        batch = self._make(who, requests, space, method, apply_valid, dry_run, progress, reason)
        return with_problems(batch, problems, len(facts), space) if problems else batch

    @for_caller
    def erase(
        self,
        who: Principal,
        subject: str,
        prompt: str,
        rephrases: tuple[str, ...],
        space: str,
        method: str = AUTO,
        dry_run: bool = False,
        progress: Progress = quiet,
    ) -> EditResult:
        """Make the model answer that it does not know; needs the scope `erase`."""
        request = build_request(
            kind=Kind.ERASE, subject=subject, prompt=prompt, target_new=REFUSAL, rephrases=rephrases
        )
        return self.edit(who, request, space, method, dry_run, progress)

    @for_caller
    def personality(
        self,
        who: Principal,
        topic: str,
        trait: Trait,
        space: str,
        method: str = AUTO,
        dry_run: bool = False,
        progress: Progress = quiet,
        reason: str = "",
    ) -> EditResult:
        """Make the model speak of a topic in another manner."""
        request = build_request(
            kind=Kind.PERSONALITY,
            subject=topic,
            prompt=OPINION_QUESTIONS[0].format(topic=topic),
            target_new=exemplar(topic, trait),
            trait=trait,
        )
        return self.edit(who, request, space, method, dry_run, progress, reason)

    @for_caller
    def carry_out(self, who: Principal, change: Change, progress: Progress, reason: str) -> BatchResult:
        """Make the edits of a change that was approved."""
        apply_valid = bool(change.options["apply_valid"])
        return self._make(who, change.requests, change.space, change.method, apply_valid, False, progress, reason)

    def _make(
        self,
        who: Principal,
        requests: Sequence[EditRequest],
        space: str,
        method: str,
        apply_valid: bool,
        dry_run: bool,
        progress: Progress,
        reason: str = "",
    ) -> BatchResult:
        erasing = any(r.kind is Kind.ERASE for r in requests)
        who.require(Scope.ERASE if erasing else Scope.EDIT, space)
        chosen = self._method(method, requests[0])
        refused = [chosen.refusal(request) for request in requests]
        if refused[0] is not None and None not in refused:
            raise refused[0]
        self.spaces.exists(who, space)
        change, by = edits_of(space, method, tuple(requests), apply_valid), who.by(reason)
        self.spaces.gate.check(who, change, by, dry_run)
        pipeline = self.backend.runtime(progress).pipeline
        created = self.spaces.ensure(who, space)
        lift = who.may(Scope.ERASE)
        options = {"apply_valid": apply_valid, "dry_run": dry_run, "progress": progress, "lift": lift}
        parametric = get_method(self.parametric(requests[0].kind)) if method == AUTO else chosen
        floor = FOLLOWED if method == AUTO and (chosen.name, parametric.name) == (NOTE_METHOD, ROUTED) else None
        outcome = pipeline.run(by, space, requests, chosen, floor=floor, **options)  # type: ignore[arg-type]
        if method == AUTO and outcome.version is None and chosen.name == NOTE_METHOD and _objected(outcome):
            chosen = parametric
            outcome = pipeline.run(by, space, requests, chosen, implied=True, **options)  # type: ignore[arg-type]
        job_id = self._follow_up(who, space, outcome) if method == AUTO else None
        return _batch_result(space, chosen.name, outcome, job_id, created, dry_run)

    def _method(self, method: str, request: EditRequest) -> Method:
        """What `auto` starts with: a note, or weights at once for an erasure, since a note hides nothing."""
        if method != AUTO:
            return get_method(method)
        return get_method(self.parametric(request.kind) if request.kind is Kind.ERASE else NOTE_METHOD)

    def parametric(self, *kinds: Kind) -> str:
        """The method by which `auto` changes weights: the configured one; for facts the calibrated one that was seen to
        hold most edits one after another; for erasures and manners FT-M on a calibrated model. Else scope-routed
        weights, where they can.

        FT-M's training takes in the answers that a leak audit begins, and tells a manner from its topic.
        """
        if self.backend.settings.parametric != AUTO:
            return get_method(self.backend.settings.parametric).name
        profile = self.backend.configurations.profile
        if not FACTS.issuperset(kinds):
            return FALLBACK if profile or not get_method(ROUTED).kinds.issuperset(kinds) else ROUTED
        able = [method for method in methods().values() if self._writes_facts(method)]
        return (profile.steadiest(able) if profile else None) or ROUTED

    def _writes_facts(self, method: Method) -> bool:
        """Whether `auto` may write facts into weights by the method, where it is known how many of its edits hold."""
        is_served = self.backend.settings.engine == "local" or Capability.HOOKED not in method.capabilities
        return is_served and Capability.IN_WEIGHTS in method.capabilities and method.kinds >= FACTS

    # --- consolidating ---

    def _follow_up(self, who: Principal, space: str, outcome: EditOutcome) -> str | None:
        """Queue the consolidation of the notes that were just committed; they stay notes where the queue is full."""
        made = [c for c in outcome.candidates if c.passed and c.is_note]
        if outcome.version is None or not made or not self.backend.settings.consolidate:
            return None
        kinds = [candidate.request.kind for candidate in made]
        arguments = {"notes": [c.live.edit_id for c in made if c.live], "method": self.parametric(*kinds)}
        with suppress(LimitReached):
            return self.jobs.queue(who, CONSOLIDATE, space, arguments)
        return None

    @for_caller
    def consolidate(self, who: Principal, space: str, method: str, wait: bool, progress: Progress = quiet) -> JobView:
        """Move a space's live notes into weights, as a job."""
        who.require(Scope.EDIT, space)
        if method != AUTO:
            get_method(method)
        self.spaces.ensure_own(who, space)
        own = set(self.backend.journal.head(space).live)
        runtime = self.backend.runtime(progress)
        notes = {edit_id: note for edit_id, note in runtime.spaces.layer(space).notes if edit_id in own}
        kinds = [runtime.notes.request(note).kind for note in notes.values()]
        name = self.parametric(*kinds) if method == AUTO else method
        return self.jobs.submit(who, CONSOLIDATE, space, {"notes": list(notes), "method": name}, wait)

    def rebase(self, who: Principal, space: str, wait: bool) -> JobView:
        """Compute the edits of a space anew that were made for another model, as a job; they keep their ids."""
        who.require(Scope.EDIT, space)
        self.backend.journal.space(space)
        return self.jobs.submit(who, REBASE, space, {}, wait)

    # --- the journal alone ---

    @for_caller
    def undo(
        self, who: Principal, edit_id: str, bring_back: bool = False, space: str | None = None, reason: str = ""
    ) -> UndoResult:
        """Take an edit off where it is live; an edit that was consolidated meanwhile is undone with its weights.

        `space`: where, when it is live in several of the caller's spaces, as after a fork.
        """
        journal, spaces = self.backend.journal, self.backend.spaces
        seen = Visibility(journal, who)
        record = seen.edit(edit_id)
        where = seen.place(record, space)
        who.require(Scope.ERASE if record.kind is Kind.ERASE else Scope.EDIT, where)
        self.backend.require_follower(where)
        by = who.by("" if record.kind is Kind.ERASE else reason)
        self.spaces.gate.check(
            who, Change("undo", where, options={"edit_id": edit_id, "bring_back": bring_back, "space": where}), by
        )
        current = standing_for(journal, record, where)
        origin, lift = origin_of(journal, current), who.may(Scope.ERASE)
        undone = spaces.undo(where, current.id, bring_back=bring_back, origin=origin, lift=lift, by=by)
        problem = self.backend.head_moved(where)
        was = tuple(r.id for r in undone.superseded)
        hint = "Pass bring_back=true to bring back what it had replaced." if was and not bring_back else ""
        return UndoResult(
            edit_id=edit_id,
            space=where,
            version=undone.version.version,
            layer_hash=spaces.layer_hash(where),
            brought_back=was if undone.brought_back else (),
            was_superseding=was,
            next=problem or hint,
        )

    @for_caller
    def list(self, who: Principal, space: str, live_only: bool, limit: int, cursor: str | None) -> EditPage:
        """A page of a space's own edits, newest first."""
        who.require(Scope.READ, space)
        if who.lives_in(space) and not self.spaces.exists(who, space):
            return EditPage(space=space, edits=())
        page = self.backend.journal.edits(space, live_only, limit, cursor)
        live = set(self.backend.spaces.state(space).head.live)
        views = tuple(edit_view(r, live, self.backend.spaces) for r in page.edits)
        return EditPage(space=space, edits=views, next_cursor=page.next)

    @for_caller
    def show(self, who: Principal, edit_id: str) -> EditView:
        """One edit with its evidence."""
        who.require_scope(Scope.READ)
        seen = Visibility(self.backend.journal, who)
        record = seen.edit(edit_id)
        return edit_view(record, seen.live_with(record), self.backend.spaces)

    def methods(self) -> MethodList:
        """Every registered method, with what it can do and whether it is calibrated for this model."""
        return MethodList(methods=tuple(map(self._method_view, methods().values())))

    def _method_view(self, method: Method) -> MethodView:
        return MethodView(
            name=method.name,
            summary=method.summary,
            phase=method.phase,
            kinds=tuple(sorted(method.kinds)),
            source=method.source,
            configuration=self._configuration(method),
        )

    def _configuration(self, method: Method) -> Configuration:
        known = self.backend.configurations
        if known.calibrated(method) is not None:
            return "calibrated"
        return "default" if known.published(method) is None else "paper"


def _batch_result(
    space: str, method: str, outcome: EditOutcome, job_id: str | None, created: bool, dry_run: bool
) -> BatchResult:
    results = tuple(edit_result(space, method, outcome, c, job_id, created, dry_run) for c in outcome.candidates)
    states = [r.status for r in results]
    if len(results) == 1 and outcome.candidates[0].error is not None:
        raise outcome.candidates[0].error
    return BatchResult(
        space=space,
        results=results,
        committed=states.count("committed"),
        refused=states.count("refused"),
        failed=states.count("failed"),
        version=outcome.version.version if outcome.version else None,
        next="" if outcome.version or dry_run else "Pass apply_valid=true to commit the good ones.",
    )


def _objected(outcome: EditOutcome) -> bool:
    return any(c.objection for c in outcome.candidates)
