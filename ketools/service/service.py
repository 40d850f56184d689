"""The service: everything a tool can do, for a principal, on one served model.

It checks who may do what where, makes user and session spaces on first use, and turns what the pipeline, the
spaces and the journal say into results. It holds no editing mathematics and no protocol.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from ketools.core.errors import EngineRefused, Forbidden, InvalidRequest, KetoolsError, ModelError, NotFound
from ketools.core.principals import Principal, Scope
from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS, REFUSAL, EditRequest, Kind, Message, Prompt, Trait, chat_prompt
from ketools.core.results import (
    Answer,
    BatchResult,
    Configuration,
    EditPage,
    EditResult,
    EditView,
    JobView,
    Location,
    MethodList,
    MethodView,
    MultihopAnswer,
    SpaceDiff,
    SpaceList,
    SpaceView,
    UndoResult,
)
from ketools.editing.consolidation import CONSOLIDATE, origin_of, standing_for
from ketools.editing.editor import Editor
from ketools.editing.pipeline import NOTE_METHOD, EditOutcome, EditPipeline
from ketools.editing.verification import Verifier
from ketools.engines.base import Engine
from ketools.evaluation.assessment import COMPARE_METHODS, EVALUATE_SPACE
from ketools.evaluation.locating import locate
from ketools.journal import ROOT, Journal
from ketools.knowledge.traits import OPINION_QUESTIONS, exemplar
from ketools.layers.artefacts import Note
from ketools.layers.composition import EditLayer
from ketools.methods.base import Method
from ketools.methods.registry import get_method, methods
from ketools.models.contexts import form
from ketools.multihop import EditMemory, EngineWriter, Finished, MultihopResources, run
from ketools.notes import NoteInjector
from ketools.notes.memory import Memory
from ketools.service.jobs import Jobs
from ketools.service.settings import Settings
from ketools.service.summaries import summary_of
from ketools.service.views import edit_result, edit_view, with_problems
from ketools.spaces.layers import LayeredSpaces

__all__ = ["EditService", "build_request"]

AUTO = "auto"
FALLBACK = "ft-m"
"""What `auto` changes weights by where nothing was calibrated: the survey's best overall."""
SELF_MADE = ("user", "session")


def build_request(**fields: Any) -> EditRequest:
    """An EditRequest from plain values. Raises InvalidRequest naming each field that is wrong."""
    try:
        return EditRequest(**fields)
    except ValidationError as error:
        raise InvalidRequest("; ".join(map(_problem, error.errors()))) from None


def _problem(found: Any) -> str:
    """A validation error as a sentence: its field, unless the whole request is meant, and what is wrong."""
    place, told = ".".join(map(str, found["loc"])), found["msg"].removeprefix("Value error, ")
    return f"{place}: {told}" if place else told


MEMORIES = 8


@dataclass(frozen=True)
class EditService:
    """One served model with its journal, spaces and editor. Thread-safe; methods block."""

    settings: Settings
    engine: Engine
    journal: Journal
    spaces: LayeredSpaces
    editor: Editor
    verifier: Verifier
    notes: NoteInjector
    pipeline: EditPipeline
    jobs: Jobs
    multihop: MultihopResources
    recall: Memory
    _memories: dict[tuple[str, ...], EditMemory] = field(default_factory=dict)
    """What sets of live edits say, by their ids; a few, since thousands of edits take seconds to read."""

    @property
    def model_name(self) -> str:
        """The base model's name at a gateway; a space's model is `NAME@space`."""
        return self.engine.model_name

    # --- editing ---

    def edit(
        self,
        who: Principal,
        request: EditRequest,
        space: str,
        method: str = AUTO,
        dry_run: bool = False,
        progress: Progress = quiet,
    ) -> EditResult:
        """Take one request down the pipeline; a refusal is a result, bad input is an error."""
        batch = self._edit(who, [request], space, method, False, dry_run, progress)
        return batch.results[0]

    def edit_many(
        self,
        who: Principal,
        facts: Sequence[Mapping[str, Any]],
        space: str,
        method: str = AUTO,
        apply_valid: bool = False,
        dry_run: bool = False,
        progress: Progress = quiet,
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
        batch = self._edit(who, requests, space, method, apply_valid, dry_run, progress)
        return with_problems(batch, problems, len(facts), space) if problems else batch

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

    def edit_personality(
        self,
        who: Principal,
        topic: str,
        trait: Trait,
        space: str,
        method: str = AUTO,
        dry_run: bool = False,
        progress: Progress = quiet,
    ) -> EditResult:
        """Make the model speak of a topic in another manner."""
        request = build_request(
            kind=Kind.PERSONALITY,
            subject=topic,
            prompt=OPINION_QUESTIONS[0].format(topic=topic),
            target_new=exemplar(topic, trait),
            trait=trait,
        )
        return self.edit(who, request, space, method, dry_run, progress)

    def _edit(
        self,
        who: Principal,
        requests: Sequence[EditRequest],
        space: str,
        method: str,
        apply_valid: bool,
        dry_run: bool,
        progress: Progress,
    ) -> BatchResult:
        erasing = any(r.kind is Kind.ERASE for r in requests)
        who.require(Scope.ERASE if erasing else Scope.EDIT, space)
        name = self._method(method, requests[0])
        created = self.ensure_space(who, space)
        options = {"apply_valid": apply_valid, "dry_run": dry_run, "progress": progress}
        outcome = self.pipeline.run(who.name, space, requests, name, **options)  # type: ignore[arg-type]
        if method == AUTO and outcome.version is None and name == NOTE_METHOD and _objected(outcome):
            name = self.parametric(requests[0].kind)
            outcome = self.pipeline.run(who.name, space, requests, name, implied=True, **options)  # type: ignore[arg-type]
        job_id = self._follow_up(space, outcome) if method == AUTO else None
        return self._batch_result(space, name, outcome, job_id, created, dry_run)

    def _method(self, method: str, request: EditRequest) -> str:
        """What `auto` starts with: a note, or weights at once for an erasure, since a note hides nothing."""
        if method != AUTO:
            return get_method(method).name
        return self.parametric(request.kind) if request.kind is Kind.ERASE else NOTE_METHOD

    def parametric(self, *kinds: Kind) -> str:
        """The method by which `auto` changes weights: the configured one, else for facts the calibrated one that holds
        most edits one after another, and FT-M for the rest.

        FT-M's training takes in the answers that a leak audit begins, and tells a manner from its topic.
        """
        if self.settings.parametric != AUTO:
            return get_method(self.settings.parametric).name
        profile = self.editor.profile
        if profile is None or not FACTS.issuperset(kinds):
            return FALLBACK
        able = [method for method in methods().values() if method.phase == "mastery" and method.kinds >= FACTS]
        return profile.steadiest(able) or FALLBACK

    def _follow_up(self, space: str, outcome: EditOutcome) -> str | None:
        """Queue the consolidation of the notes that were just committed."""
        made = [d.live for d in outcome.candidates if d.passed and d.live and isinstance(d.live.artefact, Note)]
        if outcome.version is None or not made or not self.settings.consolidate:
            return None
        kinds = [live.artefact.request.kind for live in made if isinstance(live.artefact, Note)]
        return self._move(space, [live.edit_id for live in made], self.parametric(*kinds))

    def consolidate(self, who: Principal, space: str, method: str, wait: bool, progress: Progress = quiet) -> JobView:
        """Move a space's live notes into weights, as a job."""
        who.require(Scope.EDIT, space)
        self._ensure_own(who, space)
        own = set(self.journal.head(space).live)
        notes = {edit_id: note for edit_id, note in self.spaces.layer(space).notes if edit_id in own}
        kinds = [note.request.kind for note in notes.values()]
        name = self.parametric(*kinds) if method == AUTO else get_method(method).name
        job_id = self._move(space, list(notes), name)
        if wait:
            self.jobs.wait(job_id)
        return self.job_status(who, job_id)

    def _move(self, space: str, note_ids: Sequence[str], method: str) -> str:
        """Queue the consolidation of notes; returns the job's id."""
        return self.jobs.submit(CONSOLIDATE, space, {"notes": list(note_ids), "method": method})

    def undo(self, who: Principal, edit_id: str, bring_back: bool = False) -> UndoResult:
        """Take an edit off; an edit that was consolidated meanwhile is undone with its weights."""
        record = self.journal.edit(edit_id)
        who.require(Scope.ERASE if record.kind is Kind.ERASE else Scope.EDIT, record.space)
        current = standing_for(self.journal, record)
        origin = origin_of(self.journal, current)
        undone = self.spaces.undo(record.space, current.id, bring_back=bring_back, origin=origin)
        layer = self._serve(record.space)
        was = tuple(r.id for r in undone.superseded)
        hint = "Pass bring_back=true to bring back what it had replaced." if was and not bring_back else ""
        return UndoResult(
            edit_id=edit_id,
            space=record.space,
            version=undone.version.version,
            layer_hash=layer.hash,
            brought_back=was if undone.brought_back else (),
            was_superseding=was,
            next=hint,
        )

    def _serve(self, space: str) -> EditLayer:
        """Have the engine ready for the space's new head."""
        layer = self.spaces.layer(space)
        if space == ROOT:
            self.engine.hold(layer)
        self.engine.apply_layer(layer)
        return layer

    # --- asking and looking ---

    def ask(
        self,
        who: Principal,
        question: str,
        space: str,
        chat: bool = True,
        max_new_tokens: int = 64,
        fingerprint: bool = False,
    ) -> Answer:
        """The greedy answer of the model as it is in a space."""
        layer, version = self.layer(who, space)
        prompt: Prompt = chat_prompt(question) if chat else question
        put = self.notes.prepare(prompt, layer)
        answer = self.engine.generate([put.prompt], put.layer, max_new_tokens=max_new_tokens)[0]
        return Answer(
            answer=answer,
            space=space,
            version=version,
            notes_used=put.used,
            fingerprint=self._fingerprint(put.prompt, answer, put.layer) if fingerprint else None,
        )

    def _fingerprint(self, prompt: Prompt, answer: str, layer: EditLayer) -> str:
        """SHA-256 over the answer's token log probabilities as float64: equal bits, equal model."""
        logprobs = self.engine.score([prompt], [answer], layer)[0].logprobs if answer else ()
        return hashlib.sha256(struct.pack(f"<{len(logprobs)}d", *logprobs)).hexdigest()

    def respond(
        self,
        who: Principal,
        messages: Sequence[Message],
        space: str,
        tools: Sequence[dict[str, object]] = (),
        max_new_tokens: int = 160,
    ) -> str:
        """The assistant's raw next turn in a conversation in a space, tool calls included."""
        layer, _ = self.layer(who, space)
        put = self.notes.prepare(tuple(messages), layer)
        turns: list[dict[str, object]] = [dict(m) for m in put.prompt if not isinstance(m, str)]
        return self.engine.chat(turns, put.layer, tools=tools, max_new_tokens=max_new_tokens)

    def layer(self, who: Principal, space: str) -> tuple[EditLayer, int]:
        """The layer that serves a space now, with the space's version.

        A user or session space that was never edited serves its parent's layer, as version 0.
        """
        who.require(Scope.READ, space)
        try:
            state = self.spaces.state(space)
            return self.spaces.layer_of(state), state.head.version
        except NotFound:
            if not _self_made(space):
                raise
            return self.spaces.layer(self._nearest(space)), 0

    def answer_multihop(
        self, who: Principal, question: str, space: str, agent: str = AUTO, progress: Progress = quiet
    ) -> MultihopAnswer:
        """Answer a question of several hops over a space's edits; a chain that breaks off is a result."""
        memory, layer, version = self.memory(who, space)
        program = self.multihop.program(agent, memory, question)
        for number, event in enumerate(run(program, EngineWriter(self.engine, layer)), start=1):
            progress(number, number + 1, event.line())
            if isinstance(event, Finished):
                return event.result.model_copy(update={"space": space, "version": version})
        raise AssertionError("a program ends with its result")

    def memory(self, who: Principal, space: str) -> tuple[EditMemory, EditLayer, int]:
        """What a space's live edits say, whether notes or weights serve them, with the layer and its version."""
        layer, version = self.layer(who, space)
        ids = tuple(edit.edit_id for edit in layer.edits)
        made = self._memories.get(ids)
        if made is None:  # one without facts is false
            self._memories[ids] = made = self._memory_of(layer, ids)
        if len(self._memories) > MEMORIES:
            self._memories.pop(next(iter(self._memories)), None)
        return made, layer, version

    def _memory_of(self, layer: EditLayer, ids: tuple[str, ...]) -> EditMemory:
        """Erasures are told by their notes alone: the journal does not keep what they erase."""
        records = self.journal.records(ids)
        erased = {edit_id: made.request for edit_id, made in layer.scoped if made.request.kind is Kind.ERASE}
        told = [r for r in records if r.kind in FACTS or r.id in erased]
        facts = [(r.id, erased.get(r.id) or EditRequest.model_validate(r.request)) for r in told]
        return self.multihop.memory(facts, lambda: self.recall.of(ids))

    def locate_fact(
        self, who: Principal, prompt: str, subject: str, answer: str | None, samples: int, progress: Progress = quiet
    ) -> Location:
        """Where the base model reads a fact, traced on the editor's copy of the served weights.

        Raises `EngineRefused` when this process cannot read those weights.
        """
        who.require(Scope.READ, ROOT)
        try:
            return locate(self.editor, form(prompt), subject, answer, samples=samples, progress=progress)
        except ModelError as error:
            raise EngineRefused(
                f"Locating looks inside the model, and its weights cannot be read here: {error} "
                "Start ketools with --model naming the directory of the served weights."
            ) from error

    def evaluate_edit(self, who: Principal, edit_id: str) -> EditResult:
        """Verify a live edit again. An erased fact's text is not kept, so its stored evidence is told."""
        record = self.journal.edit(edit_id)
        who.require(Scope.READ, record.space)
        current = standing_for(self.journal, record)
        stored = current.outcome.evidence if current.outcome else None
        common: dict[str, Any] = {
            "edit_id": current.id,
            "status": "committed",
            "space": record.space,
            "version": self.journal.head(record.space).version,
            "method": current.method,
        }
        if record.kind is Kind.ERASE:
            told = "The text of an erased fact is not kept: this is the evidence of its commit."
            return EditResult(**common, verified=True, before="", after=REFUSAL, evidence=stored, reason=told)
        request = EditRequest.model_validate(record.request)
        layer = self.spaces.layer(record.space)
        verdict = self.verifier.verify(request, layer.without(current.id), layer)
        objection = self.pipeline.policy.objection(request, verdict.evidence)
        return EditResult(
            **common,
            verified=not objection,
            before=verdict.before,
            after=verdict.after,
            evidence=verdict.evidence,
            reason=objection,
            next=f"Call undo_edit with {edit_id}." if objection else "",
        )

    def evaluate_space(self, who: Principal, space: str, wait: bool) -> JobView:
        """Verify every live edit of a space again, as a job."""
        who.require(Scope.READ, space)
        self._ensure_own(who, space)
        self.journal.space(space)
        return self._job(who, EVALUATE_SPACE, space, {}, wait)

    def compare_methods(
        self, who: Principal, facts: Sequence[Mapping[str, Any]], names: Sequence[str], space: str, wait: bool
    ) -> JobView:
        """Make the same edits by several methods on top of a space, as a job; nothing is committed."""
        who.require(Scope.EDIT, space)
        self._ensure_own(who, space)
        self.journal.space(space)
        requests = [build_request(kind=Kind.MODIFY, **fact).model_dump(mode="json") for fact in facts]
        chosen = [get_method(name).name for name in names] or list(methods())
        return self._job(who, COMPARE_METHODS, space, {"facts": requests, "methods": chosen}, wait)

    def _job(self, who: Principal, kind: str, space: str, arguments: Mapping[str, Any], wait: bool) -> JobView:
        job_id = self.jobs.submit(kind, space, arguments)
        if wait:
            self.jobs.wait(job_id)
        return self.job_status(who, job_id)

    def list_edits(self, who: Principal, space: str, live_only: bool, limit: int, cursor: str | None) -> EditPage:
        """A page of a space's own edits, newest first."""
        who.require(Scope.READ, space)
        if who.lives_in(space) and not self._exists(space):
            return EditPage(space=space, edits=())
        page = self.journal.edits(space, live_only, limit, cursor)
        live = set(self.journal.head(space).live)
        return EditPage(space=space, edits=tuple(edit_view(r, live) for r in page.edits), next_cursor=page.next)

    def show_edit(self, who: Principal, edit_id: str) -> EditView:
        """One edit with its evidence."""
        record = self.journal.edit(edit_id)
        who.require(Scope.READ, record.space)
        return edit_view(record, set(self.journal.head(record.space).live))

    # --- spaces ---

    def restore_space(self, who: Principal, space: str, version: int) -> SpaceView:
        """Set a space back to one of its versions."""
        who.require(Scope.EDIT, space)
        self.spaces.restore(space, version)
        self._serve(space)
        return self._space_view(space)

    def fork_space(self, who: Principal, source: str, name: str) -> SpaceView:
        """A new space with the source's live edits and parent."""
        who.require(Scope.READ, source)
        who.require(Scope.EDIT, name)
        self.spaces.fork(source, name, owner=who.name)
        return self._space_view(name)

    def drop_space(self, who: Principal, name: str, *, with_children: bool = False) -> tuple[str, ...]:
        """End a space; its edits serve nobody any more, its record stays. Returns the names that were dropped.

        Raises `Forbidden`, `NotFound`, and `InvalidRequest` for the root or children that are not to go too.
        """
        who.require(Scope.EDIT, name)
        who.require(Scope.ADMIN, name)
        return self.spaces.drop(name, with_children=with_children)

    def compare_spaces(self, who: Principal, a: str, b: str, prompts: Sequence[str] = ()) -> SpaceDiff:
        """Edits only in one of two spaces, and both answers to each prompt."""
        layers = {name: self.layer(who, name)[0] for name in (a, b)}
        diff = self.spaces.diff(a, b)
        asked: list[Prompt] = [chat_prompt(p) for p in prompts]
        answers = {name: self.verifier.answers(asked, layer) for name, layer in layers.items()}
        rows = [{"prompt": p, "a": one, "b": two} for p, one, two in zip(prompts, answers[a], answers[b], strict=True)]
        return SpaceDiff(
            a=a,
            b=b,
            only_a=tuple(edit_view(r, {r.id}) for r in (*diff.only_a, *(one for one, _ in diff.changed))),
            only_b=tuple(edit_view(r, {r.id}) for r in (*diff.only_b, *(two for _, two in diff.changed))),
            answers=tuple(rows),
        )

    def list_spaces(self, who: Principal) -> SpaceList:
        """The spaces that the principal may read."""
        seen = [s.name for s in self.journal.spaces() if s.name == ROOT or who.owns(s.name)]
        return SpaceList(spaces=tuple(self._space_view(name) for name in seen))

    def _space_view(self, name: str) -> SpaceView:
        space, head = self.journal.space(name), self.journal.head(name)
        return SpaceView(
            name=name,
            parent=space.parent,
            owner=space.owner or "",
            version=head.version,
            live=len(head.live),
            layer_hash=self.spaces.layer(name).hash,
        )

    def ensure_space(self, who: Principal, name: str) -> bool:
        """Make a user or session space on first edit; any other unknown name is an error."""
        try:
            space = self.spaces.state(name).space
        except NotFound:
            if not _self_made(name):
                raise
            parent = self._parent(name)
            if parent != ROOT:
                self.ensure_space(who, parent)
            self.spaces.create(name, parent, owner=who.name)
            return True
        if space.owner not in (None, who.name) and not who.owns(name):
            raise Forbidden(f"The space {name!r} belongs to {space.owner}.")
        return False

    def _ensure_own(self, who: Principal, space: str) -> None:
        """Make the caller's own space, which a call may mean before anything was edited in it."""
        if who.lives_in(space):
            self.ensure_space(who, space)

    def _exists(self, name: str) -> bool:
        try:
            return self.journal.space(name) is not None
        except NotFound:
            return False

    @staticmethod
    def _parent(name: str) -> str:
        """`session/alice/42` stands under `user/alice`; `session/42` and `user/alice` under `global`."""
        parts = name.split("/")
        return f"user/{parts[1]}" if parts[0] == "session" and len(parts) > 2 else ROOT

    def _nearest(self, name: str) -> str:
        """The nearest existing ancestor of a space that does not exist yet."""
        parent = self._parent(name)
        try:
            return self.journal.space(parent).name
        except NotFound:
            return ROOT

    # --- the rest ---

    def job_status(self, who: Principal, job_id: str, cancel: bool = False) -> JobView:
        """How a job stands; `cancel` stops it at its next step."""
        job = self.journal.job(job_id)
        who.require(Scope.EDIT if cancel else Scope.READ, job.space or ROOT)
        if cancel:
            self.jobs.cancel(job_id)
            job = self.journal.job(job_id)
        state = "running" if job.state == "cancelling" else job.state
        stage = self.jobs.stage(job_id) if state == "running" else None
        return JobView(
            job_id=job_id,
            kind=job.kind,
            space=job.space or ROOT,
            state=state,
            progress=stage[0] if stage else job.progress,
            message=stage[1] if stage else job.message,
            summary=summary_of(job.kind, job.result or {}) if state == "done" else "",
            result=dict(job.result or {}),
        )

    def list_methods(self) -> MethodList:
        """Every registered method, with what it can do and whether it is calibrated for this model."""
        views = [
            MethodView(
                name=m.name,
                summary=m.summary,
                phase=m.phase,
                kinds=tuple(sorted(m.kinds)),
                source=m.source,
                configuration=self._configuration(m),
            )
            for m in methods().values()
        ]
        return MethodList(methods=tuple(views))

    def _configuration(self, method: Method) -> Configuration:
        if self.editor.calibrated_config(method) is not None:
            return "calibrated"
        return "default" if self.editor.paper_config(method) is None else "paper"

    def _batch_result(
        self, space: str, method: str, outcome: EditOutcome, job_id: str | None, created: bool, dry_run: bool
    ) -> BatchResult:
        results = tuple(edit_result(space, method, outcome, d, job_id, created, dry_run) for d in outcome.candidates)
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

    def close(self) -> None:
        """Stop background work at its next step and release what is open."""
        self.jobs.close()
        self.recall.close()
        self.engine.close()
        self.journal.close()


def _self_made(name: str) -> bool:
    return name.split("/")[0] in SELF_MADE and "/" in name


def _objected(outcome: EditOutcome) -> bool:
    return any(d.objection for d in outcome.candidates)
