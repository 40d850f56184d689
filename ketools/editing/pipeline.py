"""The pipeline of every edit: check, artefact, journal, verify on the serving engine, commit or refuse.

A single edit is a batch of one. A batch commits in one version of its space or not at all, unless the caller
asks for the good ones.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ketools.core.errors import Cancelled, Conflict, Diverged, HeadMoved, InvalidRequest, KetoolsError, StorageError
from ketools.core.evidence import Evidence, Timings
from ketools.core.principals import Provenance
from ketools.core.progress import Progress
from ketools.core.requests import FACTS, EditRequest, Kind
from ketools.core.text import normalise
from ketools.editing.editor import Editor
from ketools.editing.turns import Turns
from ketools.editing.verification import Policy, Verdict, Verifier, leak_probes
from ketools.engines.base import Engine
from ketools.journal import ROOT, EditRecord, Journal, Outcome, SpaceState, Version, scrub, would_lift
from ketools.knowledge.matching import says
from ketools.knowledge.probing import asked_for, with_relation
from ketools.layers.artefacts import Acts, Artefact, Scoped, SealedRequest
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.store import ArtefactStore, content_hash
from ketools.methods.base import EditContext, Method
from ketools.spaces.layers import LayeredSpaces

MAX_REPHRASES = 32


@dataclass
class Clock:
    """Adds up where the time goes, in milliseconds."""

    parts: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time a part; the same name again adds to it."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    def timings(self) -> Timings:
        """What was measured so far."""
        return Timings(total_ms=(time.perf_counter() - self.started) * 1e3, **self.parts)


@dataclass(frozen=True)
class Candidate:
    """One request on its way. It ends with an error, an objection, or a verdict good enough to commit.

    `begun`: done when its artefact is durable and the journal has it as pending, which a commit waits for.
    """

    request: EditRequest
    method: Method
    replaces: tuple[EditRecord, ...] = ()
    hides: tuple[EditRecord, ...] = ()
    live: LiveEdit | None = None
    begun: Future[None] | None = None
    verdict: Verdict | None = None
    error: KetoolsError | None = None
    objection: str = ""

    @property
    def passed(self) -> bool:
        """Whether this edit may be committed."""
        return self.error is None and not self.objection and self.live is not None

    @property
    def is_note(self) -> bool:
        """Whether what was made is put into prompts, and the weights stay as they are."""
        return self.live is not None and self.live.artefact.acts is Acts.PROMPT

    def conflicts(self) -> tuple[str, ...]:
        """What the edit disagrees with, in words; an erasure names no text."""
        if self.request.kind is Kind.ERASE:
            return tuple(f"replaces {r.id}" for r in self.replaces)
        told = [_versus("replaces", r, self.request) for r in self.replaces]
        return (*told, *(_versus(f"hides the one of {r.space},", r, self.request) for r in self.hides))


def _versus(verb: str, record: EditRecord, request: EditRequest) -> str:
    old = record.request
    back = " (a reversal)" if normalise(str(old.get("target_old") or "")) == normalise(request.target_new) else ""
    return f"{verb} {record.id}: {old.get('prompt')} {old.get('target_new')}{back}"


NEWEST = 16
"""How many of the newest live edits are looked at for facts that must stay."""


@dataclass(frozen=True)
class EditRun:
    """Where a batch travels: the space, its head, on which it is computed, and its layer."""

    by: Provenance
    state: SpaceState
    before: EditLayer
    dry_run: bool
    progress: Progress
    clock: Clock = field(default_factory=Clock)
    consolidates: str | None = None
    floor: Evidence | None = None
    implied: bool = False
    lift: bool = False

    @property
    def space(self) -> str:
        """The space's name."""
        return self.state.space.name

    @property
    def reason(self) -> str:
        """Why the space gets a new version, in words."""
        return f"consolidates {self.consolidates}" if self.consolidates else "edit"

    @property
    def head(self) -> Version:
        """The version that the edits are computed on."""
        return self.state.head


@dataclass
class Batch:
    """The edits of a run as they stand. `stale`: their artefacts were computed on an older head than the run's."""

    run: EditRun
    candidates: list[Candidate]
    retire: tuple[str, ...]
    stale: bool = False

    @property
    def base(self) -> EditLayer:
        """What the edits stand on: the head's layer without what they replace."""
        return self.run.before.without(*self.retire, *_gone(self.candidates))


@dataclass(frozen=True)
class EditOutcome:
    """What became of the candidates; `version` is the new head, None when nothing was committed."""

    candidates: tuple[Candidate, ...]
    version: Version | None
    timings: Timings


@dataclass(frozen=True)
class EditPipeline:
    """The parts that the pipeline runs over."""

    engine: Engine
    journal: Journal
    store: ArtefactStore
    spaces: LayeredSpaces
    editor: Editor
    verifier: Verifier
    policy: Policy
    verify: bool = True
    turns: Turns = field(default_factory=Turns)

    def run(
        self,
        by: Provenance,
        space: str,
        requests: Sequence[EditRequest],
        method: Method,
        *,
        apply_valid: bool = False,
        dry_run: bool = False,
        progress: Progress,
        retire: Sequence[str] = (),
        consolidates: str | None = None,
        floor: Evidence | None = None,
        implied: bool = False,
        lift: bool = False,
    ) -> EditOutcome:
        """Take requests down the pipeline. However many run at once, all land, in some order.

        Artefacts are computed in parallel; verification and commit of one space go one after another. What was
        computed on an older head is verified on the new one, and computed again only if that refuses it.

        `retire`: live edits to take off in the same version (a note that its parametric edit replaces).
        `floor`: evidence of a note that the new edit must at least equal, also in what follows from the fact.
        `implied`: teach the method what follows from the fact too; always done with a floor.
        `lift`: whether edits may take the place of erasures, which brings back what was erased.
        """
        options: dict[str, Any] = {"consolidates": consolidates, "floor": floor, "implied": implied, "lift": lift}
        run = self._start(EditRun(by, self.spaces.state(space), BASE, dry_run, progress, **options), retire)
        with self.verifier.forgetting(requests):
            return self._run(run, requests, method, apply_valid, tuple(retire))

    def _start(self, run: EditRun, retire: Sequence[str]) -> EditRun:
        """The same run on the space as it is now. Raises Conflict when what is to be taken off is no longer live."""
        state = self.spaces.state(run.space)
        if gone := set(retire).difference(state.head.live):
            raise Conflict(f"{', '.join(sorted(gone))} is no longer live in {run.space}; nothing was written.")
        return replace(run, state=state, before=self.spaces.layer_of(state))

    def _run(
        self,
        run: EditRun,
        requests: Sequence[EditRequest],
        method: Method,
        apply_valid: bool,
        retire: tuple[str, ...],
    ) -> EditOutcome:
        """Compute outside the order, then verify and commit in it. Whatever fails, what was begun is closed."""
        batch = Batch(run, self._check(run, requests, method, retire), retire)
        batch.candidates = self._compute(run, batch.candidates, batch.base)
        try:
            if run.dry_run:
                batch.candidates = self._judge(run, batch.candidates, batch.base, apply_valid)
                version = self._finish(run, batch.candidates, apply_valid, retire)
            else:
                with self.turns.of(run.space, run.progress):
                    version = self._land(batch, requests, method, apply_valid)
        except Exception as error:
            why = error if isinstance(error, KetoolsError) else KetoolsError("Internal error; nothing committed.")
            self._close(batch.run, [replace(d, error=d.error or why) for d in batch.candidates])
            raise
        return EditOutcome(tuple(batch.candidates), version, run.clock.timings())

    def _land(self, batch: Batch, requests: Sequence[EditRequest], method: Method, apply_valid: bool) -> Version | None:
        """Verify on the head and commit; again whenever another process has moved it meanwhile.

        It ends: each time that it fails, somebody else's version was written.
        """
        while True:
            stale = self._follow(batch, requests, method)
            judged = self._judge(batch.run, batch.candidates, batch.base, apply_valid)
            if stale and method.needs_model and any(d.objection for d in judged):
                self._compute_again(batch)
                judged = self._judge(batch.run, batch.candidates, batch.base, apply_valid)
            batch.candidates = judged
            try:
                return self._finish(batch.run, judged, apply_valid, batch.retire)
            except HeadMoved:
                batch.candidates = [replace(d, verdict=None, objection="") for d in judged]

    def _follow(self, batch: Batch, requests: Sequence[EditRequest], method: Method) -> bool:
        """Move the batch to the space's head; whether artefacts are now older than what they would stand on."""
        heads = self.spaces.state(batch.run.space).heads
        if heads == batch.run.state.heads:
            return batch.stale
        batch.run = self._start(batch.run, batch.retire)
        checked = self._check(batch.run, requests, method, batch.retire)
        changed = any(
            old.passed and new.error is None and new.request != old.request
            for old, new in zip(batch.candidates, checked, strict=True)
        )
        batch.candidates = [_followed(old, new) for old, new in zip(batch.candidates, checked, strict=True)]
        batch.stale = True
        if changed:
            self._compute_again(batch)
        return batch.stale

    def _compute_again(self, batch: Batch) -> None:
        """Artefacts on the head at hand; the edits that were begun with the older ones end."""
        why = Conflict("The space moved meanwhile: the edit was computed again on its new head.")
        self._close(batch.run, [replace(d, error=why) for d in batch.candidates if d.passed or d.objection])
        fresh = [replace(d, live=None, begun=None, verdict=None, objection="") for d in batch.candidates if not d.error]
        made = iter(self._compute(batch.run, fresh, batch.base))
        batch.candidates = [d if d.error else next(made) for d in batch.candidates]
        batch.stale = False

    def _check(
        self, run: EditRun, requests: Sequence[EditRequest], method: Method, retire: Sequence[str]
    ) -> list[Candidate]:
        visible = [r for line in self.spaces.lines(run.state) for r in line if r.id not in retire]
        candidates = []
        for request in (with_relation(self.verifier.prober.respelt(request)) for request in requests):
            keys = self.journal.key_hashes(request)
            same = [r for r in visible if r.key_hash in keys]
            lifted = [r for r in same if r.kind is Kind.ERASE and not run.lift]
            candidates.append(
                Candidate(
                    request,
                    method,
                    replaces=tuple(r for r in same if r.space == run.space),
                    hides=tuple(r for r in same if r.space != run.space),
                    error=method.refusal(request) or _lifts(request, lifted),
                )
            )
        candidates = _last_of_each_key(candidates)
        self._ask_together(run, candidates)
        return [self._news(run, d) for d in candidates]

    def _ask_together(self, run: EditRun, candidates: Sequence[Candidate]) -> None:
        """What a batch's prompts are answered now, in one go; one that cannot be asked is looked at by itself."""
        if len(candidates) > 1 and self.verify:
            prompts = [self.verifier.prober.phrasings(d.request)[0].rendered() for d in candidates]
            with run.clock.part("verify_ms"), contextlib.suppress(InvalidRequest):
                self.verifier.answers(prompts, run.before)

    def _news(self, run: EditRun, candidate: Candidate) -> Candidate:
        """Refuse an edit that changes nothing, and one whose `target_old` is not what the model says."""
        request = candidate.request
        if candidate.error or run.consolidates or not self.verify:
            return candidate
        with run.clock.part("verify_ms"):
            try:
                answer = self.verifier.direct_answer(request, run.before)
                news = not self.verifier.hits(request, answer) or not self.verifier.known(request, run.before)
            except InvalidRequest as error:  # such as a prompt that the engine's window cannot hold
                return replace(candidate, error=error)
        if not news:
            text = f"The model already answers so in {run.space}: nothing to edit. Call ask to see it."
            return replace(candidate, error=InvalidRequest(text))
        if request.target_old is not None and not says(answer, request.target_old):
            text = (
                f"The model answers {answer!r} in {run.space}, not the target_old {request.target_old!r}. "
                "Leave target_old out to edit anyway."
            )
            return replace(candidate, error=InvalidRequest(text))
        return replace(candidate, request=with_old_answer(request, answer))

    def _compute(self, run: EditRun, candidates: list[Candidate], base: EditLayer) -> list[Candidate]:
        todo = [d for d in candidates if d.error is None]
        if not todo:
            return candidates
        with run.clock.part("compute_ms"):
            made = self._artefacts([self._for_method(run, d) for d in todo], base, run.progress)
        out, begun = iter(made), list(candidates)
        try:
            for i, candidate in enumerate(candidates):
                if candidate.error is None:
                    begun[i] = self._begin(run, candidate, next(out))
        except KetoolsError as error:
            self._close(run, [replace(d, error=error) for d in begun])
            raise
        return begun

    def _for_method(self, run: EditRun, candidate: Candidate) -> Candidate:
        """What only the method sees: the questions of an erasure's leak audit, and what follows from a note's fact."""
        if not candidate.method.needs_model:
            return candidate
        if candidate.request.kind is Kind.ERASE:
            return self._against_leaks(run, candidate)
        if run.floor is None and not run.implied:
            return candidate
        implied = self.verifier.implied(candidate.request, run.before)
        return replace(candidate, request=candidate.request.model_copy(update={"implied": implied}))

    def _against_leaks(self, run: EditRun, candidate: Candidate) -> Candidate:
        """An erasure also trains on what its leak audit will ask."""
        request = candidate.request
        phrasings = self.verifier.prober.phrasings(request)
        leaks = leak_probes(request, phrasings, self.verifier.phrasing_answers(request, run.before))
        more = tuple(dict.fromkeys([*request.rephrases, *(p.prompt for p in (*phrasings[1:], *leaks))]))
        return replace(candidate, request=request.model_copy(update={"rephrases": more[:MAX_REPHRASES]}))

    def _artefacts(
        self, candidates: Sequence[Candidate], base: EditLayer, progress: Progress
    ) -> list[Artefact | KetoolsError]:
        """One artefact per candidate; an error of one request of a batch is that request's alone."""
        method, requests = candidates[0].method, [d.request for d in candidates]
        if not method.needs_model:
            context = EditContext(None, base, method.config(), progress)
            return list(method.compute(requests, context))
        found: dict[int, Artefact | KetoolsError] = {}
        while left := [i for i in range(len(requests)) if i not in found]:
            try:
                made = self.editor.compute(method.name, [requests[i] for i in left], base, progress=progress)
                found |= zip(left, made, strict=True)
            except (Diverged, InvalidRequest) as error:
                if not error.which and len(left) > 1:  # it does not say whose fault it is
                    found |= {i: self._artefacts([candidates[i]], base, progress)[0] for i in left}
                else:
                    found |= {left[k]: error for k in error.which or (0,)}
        return [found[i] for i in range(len(requests))]

    def _begin(self, run: EditRun, candidate: Candidate, made: Artefact | KetoolsError) -> Candidate:
        if isinstance(made, KetoolsError):
            return replace(candidate, error=made)
        if made.acts is Acts.PROMPT and candidate.request.kind is Kind.ERASE:
            return replace(candidate, error=candidate.method.tells_what_it_erases())
        made = self.sealed(made, candidate.request)
        with run.clock.part("journal_ms"):
            if run.dry_run:
                return replace(candidate, live=LiveEdit("dry-run", content_hash(made), made))
            record = self.journal.new_record(
                run.space,
                candidate.request,
                principal=run.by.principal,
                client=run.by.client,
                why=run.by.why,
                method=candidate.method.name,
                artefact=None,
                base_version=run.head.version,
                model=self.engine.model_hash if candidate.method.needs_model else "",
                form=made.form,
                prepared=self.editor.prepared(candidate.method),
            )
            name, begun = self.store.put_soon(made, lambda n: self.journal.begin_edit(replace(record, artefact=n)))
        return replace(candidate, live=LiveEdit(record.id, name, made), begun=begun)

    def sealed(self, made: Artefact, request: EditRequest) -> Artefact:
        """The artefact as it may be stored: what brings an erasure into scope is encrypted, and holds no answer."""
        if not isinstance(made, Scoped) or request.kind is not Kind.ERASE:
            return made
        kept = request.model_copy(update={"target_old": None, "probes": ()})
        return made.of(SealedRequest(self.journal.seal(kept.model_dump_json())))

    def _judge(self, run: EditRun, candidates: list[Candidate], base: EditLayer, apply_valid: bool) -> list[Candidate]:
        """Verify every candidate under the layer that would be committed; drop failures and look again."""
        live = self._live_facts(run, candidates)
        changing = asked_for(d.request for d in candidates) if len(candidates) > 1 else frozenset()
        for _ in range(3):
            good = [d for d in candidates if d.passed]
            after = base.with_edits(*(d.live for d in good if d.live is not None))
            with run.clock.part("swap_ms"):
                residual = self.engine.apply_layer(after)
            if self.verify and len(good) > 1:
                with run.clock.part("verify_ms"):
                    self.verifier.ask_ahead([d.request for d in good], run.before, after, live, run.progress)
            judged = [self._verdict(run, d, after, residual, live, changing) if d.passed else d for d in candidates]
            if not apply_valid or sum(d.passed for d in judged) in (0, len(good)):
                return judged
            candidates = judged
        return candidates

    def _live_facts(self, run: EditRun, candidates: Sequence[Candidate]) -> tuple[EditRequest, ...]:
        """The newest facts of other live edits, which these edits must leave alone."""
        if not self.verify:
            return ()
        gone = {record.id for candidate in candidates for record in (*candidate.replaces, *candidate.hides)}
        told = self.journal.records([edit.edit_id for edit in run.before.edits[-NEWEST:] if edit.edit_id not in gone])
        facts = [EditRequest.model_validate(r.request) for r in told if r.kind in FACTS]
        keys = {candidate.request.key for candidate in candidates}
        return tuple(fact for fact in facts if fact.key not in keys)

    def _verdict(
        self,
        run: EditRun,
        candidate: Candidate,
        after: EditLayer,
        residual: float,
        live: Sequence[EditRequest],
        changing: Collection[str],
    ) -> Candidate:
        if not self.verify:
            return candidate
        run.progress(0, 1, "verifying")
        with run.clock.part("verify_ms"):
            verdict = self.verifier.verify(candidate.request, run.before, after, live, changing)
        verdict = replace(verdict, evidence=verdict.evidence.model_copy(update={"residual": residual}))
        objection = self.policy.objection(candidate.request, verdict.evidence) or _below(run.floor, verdict.evidence)
        if run.floor is not None and not objection:
            objection = self._less_implied(run, candidate, after)
        return replace(candidate, verdict=verdict, objection=objection)

    def _less_implied(self, run: EditRun, candidate: Candidate, after: EditLayer) -> str:
        """Why less follows from the edit than from the note that it would replace, or an empty string."""
        implied = self.verifier.implied(candidate.request, run.before)
        had, has = (self.verifier.portability(implied, layer) for layer in (run.before, after))
        if has >= had:
            return ""
        return f"Its portability is {has:.2f}, below the {had:.2f} of the note that it would replace."

    def _finish(
        self, run: EditRun, candidates: Sequence[Candidate], apply_valid: bool, retire: tuple[str, ...]
    ) -> Version | None:
        """One transaction for the new version and the outcomes of what it holds."""
        good = [d for d in candidates if d.passed]
        whole = len(good) == len(candidates) or (apply_valid and bool(good))
        if run.dry_run or not whole:
            self._close(run, candidates)
            return None
        gone = {*retire, *_gone(good)}
        live = [i for i in run.head.live if i not in gone] + [d.live.edit_id for d in good if d.live]
        with run.clock.part("journal_ms"):
            for candidate in good:
                if candidate.begun:
                    candidate.begun.result()
            run.progress(0, 1, "committing")  # the last moment at which the caller may cancel it
            version = self.journal.commit(
                run.space,
                run.head.version,
                tuple(live),
                run.reason,
                lift=run.lift,
                by=replace(run.by, why=""),
                edit_id=good[0].live.edit_id if len(good) == 1 and good[0].live else None,
                outcomes=[self._outcome(run, d, True, retire) for d in good],
            )
            self.spaces.moved(run.state, version)
            with contextlib.suppress(StorageError):  # the version stands; a restart closes what stayed pending
                self._close(run, [d for d in candidates if not d.passed])
        if run.space == ROOT:
            self.engine.hold(self.spaces.layer(ROOT))
        return version

    def _outcome(
        self, run: EditRun, candidate: Candidate, committed: bool = False, retire: tuple[str, ...] = ()
    ) -> Outcome:
        why = str(candidate.error) if candidate.error else candidate.objection
        return Outcome(
            edit_id=candidate.live.edit_id if candidate.live else "",
            outcome="committed" if committed else _ending(candidate),
            reason=scrub(why or run.reason, candidate.request),
            evidence=candidate.verdict.evidence if candidate.verdict else None,
            timings=run.clock.timings().model_dump(),
            supersedes=(*(r.id for r in candidate.replaces), *retire) if committed else (),
            consolidates=run.consolidates if committed else None,
        )

    def _close(self, run: EditRun, candidates: Sequence[Candidate]) -> None:
        """Write why begun edits did not arrive."""
        for candidate in candidates:
            if candidate.live is None or candidate.begun is None or candidate.begun.exception() is not None:
                continue
            end = self._outcome(run, candidate)
            self.journal.close_edit(end.edit_id, end.outcome, end.reason, end.evidence, end.timings)


def with_old_answer(request: EditRequest, said: str) -> EditRequest:
    """The request with what the model says to its prompt as the old answer, where a change of a fact names none."""
    if request.target_old is not None or request.kind is not Kind.MODIFY:
        return request
    return request.model_copy(update={"target_old": said[:500] or None})


def _below(floor: Evidence | None, evidence: Evidence) -> str:
    """Why the evidence is worse than what it should replace, or an empty string."""
    for name in ("success", "locality") if floor else ():
        had, has = getattr(floor, name), getattr(evidence, name)
        if has < had:
            return f"Its {name} is {has:.2f}, below the {had:.2f} of the edit that it would replace."
    return ""


def _ending(candidate: Candidate) -> Literal["cancelled", "failed", "refused"]:
    if isinstance(candidate.error, Cancelled):
        return "cancelled"
    return "failed" if candidate.error else "refused"


def _gone(candidates: Sequence[Candidate]) -> list[str]:
    return [r.id for d in candidates if d.error is None for r in (*d.replaces, *d.hides)]


def _followed(old: Candidate, new: Candidate) -> Candidate:
    """A candidate on a newer head, as it was checked there; what has ended stays so."""
    if old.error is not None:
        return old
    return replace(
        old,
        request=new.request,
        replaces=new.replaces,
        hides=new.hides,
        error=new.error,
        verdict=None,
        objection="",
    )


def _lifts(request: EditRequest, erasures: Sequence[EditRecord]) -> KetoolsError | None:
    """The refusal of an edit that would stand in the place of an erasure; another erasure may."""
    if request.kind is Kind.ERASE or not erasures:
        return None
    return would_lift(erasures[0].id, erasures[0].space)


def _last_of_each_key(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In one batch the last request of a key counts; earlier ones are told so."""
    last = {d.request.key: i for i, d in enumerate(candidates)}
    text = "A later fact of this batch has the same subject and relation: leave this one out, or set apply_valid=true."
    return [d if last[d.request.key] == i else replace(d, error=InvalidRequest(text)) for i, d in enumerate(candidates)]
