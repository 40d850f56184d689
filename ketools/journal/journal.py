"""The journal: the append-only record of spaces, edits, evidence, versions and jobs. It is the truth."""

from __future__ import annotations

import time
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from ketools.core.errors import InvalidRequest, NotFound
from ketools.core.evidence import Evidence
from ketools.core.principals import Provenance
from ketools.core.requests import EditRequest, Kind
from ketools.core.space_names import ROOT
from ketools.journal import edit_rows, job_rows, opening, rendition_rows, space_rows, version_rows
from ketools.journal.audit import Audit, Listener, nobody, version_event
from ketools.journal.database import Database
from ketools.journal.migrations import migrate
from ketools.journal.proposals import Proposals
from ketools.journal.records import (
    KEY_RULE,
    EditRecord,
    Ending,
    Ids,
    Job,
    JobState,
    Outcome,
    Page,
    Rendition,
    Space,
    SpaceState,
    Version,
)
from ketools.journal.redaction import redact_request
from ketools.journal.secret import keyed_hash, seal, unseal
from ketools.journal.sessions import SessionWriters
from ketools.journal.watermark import Watermark
from ketools.journal.writers import ProcessWriters, Writers


class Journal:
    """Opens (or creates) a journal; safe for many threads, and for many processes on one database.

    `where`: a file path, or a SQLAlchemy URL. `secret_path`: the file with the key for hashes, by default
    `<file>.secret` beside a SQLite file; a journal by URL needs one. `timeout_s`: how long to wait for
    another writer. `patience_s`: for how long a writer counts as living of which nothing is to be seen; by default
    an hour for other hosts' on SQLite, 15 seconds on PostgreSQL. `artefacts`: the store's folder; an empty journal is
    refused beside stored artefacts, since it must have been lost. `listener`: is told what this process commits,
    proposes and decides, as the audit tells it. Every method raises StorageError when the database
    cannot be used: StorageUnavailable when it is away for now.
    """

    def __init__(
        self,
        where: str | Path,
        *,
        secret_path: Path | None = None,
        timeout_s: float = 10.0,
        patience_s: float | None = None,
        artefacts: Path | None = None,
        listener: Listener = nobody,
    ) -> None:
        self._db, self._ids = Database(where, timeout_s), Ids()
        self._mark = Watermark(self._db.file) if self._db.file else None
        try:
            self._db.write(migrate)
            self._secret = opening.load(self._db, secret_path, artefacts, self._mark, timeout_s)
            opening.check_whole(self._db, self._mark)
            self._writers = self._enter(patience_s)
            self.proposals = Proposals(self._db, self._ids, listener)
            self.audit, self._listener = Audit(self._db), listener
        except BaseException:
            self._db.close()
            raise

    def _enter(self, patience_s: float | None) -> Writers:
        """Step among the writers, by the means that the database has to tell who lives."""
        patience = {} if patience_s is None else {"patience_s": patience_s}
        if self._db.is_sqlite:
            return ProcessWriters(**patience)
        with self._db.errors():
            return SessionWriters(self._db.engine, **patience)

    def close(self) -> None:
        """Close the database connections; the journal must not be used afterwards."""
        self._writers.close()
        self._db.close()

    def change_counter(self) -> int:
        """Grows with every version that anybody writes, also with every space made or dropped (one query)."""
        return self._db.value(version_rows.LAST_SEQUENCE) or 0

    def key_hash(self, key: str) -> str:
        """HMAC-SHA256 of an edit's key (hex): equal for equal facts in every space; does not tell them."""
        return keyed_hash(self._secret, key)

    def seal(self, text: str) -> str:
        """The text encrypted under the journal's secret, for what an erasure has to recognise."""
        return seal(self._secret, text)

    def unseal(self, sealed: str) -> str:
        """The text of `seal`. Raises StorageError when it is not this journal's."""
        return unseal(self._secret, sealed)

    def key_hashes(self, request: EditRequest) -> frozenset[str]:
        """The hashes under which records of the request's fact are found: that of its key, and that of before."""
        return frozenset((self.key_hash(request.key), self.key_hash(request.first_key)))

    def _keyed(self, record: EditRecord) -> EditRecord:
        """The record under the key of now; an erasure of before keeps its own, since its request is redacted."""
        if record.key_rule == KEY_RULE or record.kind is Kind.ERASE:
            return record
        request = EditRequest.model_validate(record.request)
        return replace(record, key_hash=self.key_hash(request.key), key_rule=KEY_RULE)

    # --- spaces ---

    def create_space(
        self,
        name: str,
        parent: str | None = ROOT,
        owner: str | None = None,
        *,
        live: Sequence[str] = (),
        reason: str = "created",
        by: Provenance | None = None,
    ) -> Space:
        """Make a space with the empty version 0 and, when `live` is given, a version 1 with those edits.

        Raises InvalidRequest for a bad, taken or cyclic name, NotFound for an unknown parent.
        """

        def work(connection: Connection) -> Space:
            space = space_rows.insert_space(connection, name, parent, owner)
            version_rows.insert_version(connection, space, 0)
            if live:
                version_rows.append_version(connection, space, 0, live, reason, by=by)
            return space

        return self._db.write(work)

    def ensure_space(self, name: str, parent: str = ROOT, owner: str | None = None) -> bool:
        """Make a space unless there is one of that name; whether it was made. Of many at once one makes it."""

        def work(connection: Connection) -> bool:
            if space_rows.is_living(connection, name):
                return False
            version_rows.insert_version(connection, space_rows.insert_space(connection, name, parent, owner), 0)
            return True

        return self._db.write(work)

    def space(self, name: str) -> Space:
        """The space of a name. Raises NotFound with near names."""
        return self._db.read(lambda connection: space_rows.find_space(connection, name))

    def spaces(self, owner: str | None = None) -> list[Space]:
        """The spaces that are not dropped, by name; only an owner's when given."""
        return self._db.read(lambda connection: space_rows.all_spaces(connection, owner))

    def drop_space(self, name: str, *, with_children: bool = False, by: Provenance | None = None) -> tuple[str, ...]:
        """End a space: its last version is empty, its record stays. Returns the names that were dropped.

        Raises InvalidRequest for the root, or when the space has children that are not to go with it.
        """

        def work(connection: Connection) -> tuple[str, ...]:
            space = space_rows.find_space(connection, name)
            family = list(space_rows.family(connection, space))
            if space.name == ROOT:
                raise InvalidRequest(f"The space {ROOT!r} cannot be dropped; restore it to version 0 instead.")
            if len(family) > 1 and not with_children:
                names = ", ".join(child.name for child in family[:-1])
                raise InvalidRequest(f"{name!r} has children ({names}): drop them first, or together with it.")
            for member in family:
                head = version_rows.heads(connection, [member.id])[0]
                version_rows.append_version(connection, member, head.version, (), "dropped", lift=True, by=by)
                space_rows.mark_dropped(connection, member)
            return tuple(member.name for member in family)

        return self._db.write(work)

    # --- edits ---

    def new_record(
        self,
        space: str,
        request: EditRequest,
        *,
        principal: str,
        method: str,
        artefact: str | None,
        base_version: int,
        model: str | None = None,
        form: str | None = None,
        client: str = "",
        why: str = "",
        prepared: str | None = None,
    ) -> EditRecord:
        """A record for `begin_edit`, with a fresh id, the key hashed, an erasure's request redacted and its `why` left
        out, which may quote what is erased.

        `model`, `form`, `client`, `why`, `prepared`: see `EditRecord`.
        """
        return EditRecord(
            id=self._ids.new("e"),
            space=space,
            created_at=time.time(),
            principal=principal,
            kind=request.kind,
            method=method,
            key_hash=self.key_hash(request.key),
            request=redact_request(request.kind, request.model_dump(mode="json")),
            artefact=artefact,
            base_version=base_version,
            model=model,
            form=form,
            client=client,
            why="" if request.kind is Kind.ERASE else why,
            prepared=prepared,
        )

    def begin_edit(self, record: EditRecord) -> EditRecord:
        """Write an edit down as pending (not waiting for the disk). Raises NotFound for an unknown space."""

        def work(connection: Connection) -> EditRecord:
            space = space_rows.find_space(connection, record.space)
            return edit_rows.insert_edit(connection, space, record, self._writers.me)

        return self._db.write(work, durable=False)

    def close_edit(
        self,
        edit_id: str,
        outcome: Ending,
        reason: str = "",
        evidence: Evidence | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> Outcome:
        """End an edit that is not committed.

        `reason` is kept as it is: for erasures, pass it through `ketools.journal.scrub` before. Raises
        Conflict when it has ended already, InvalidRequest for `committed` (that is `commit`'s work).
        """
        if outcome == "committed":
            raise InvalidRequest("An edit becomes live together with a version; use commit.")
        ending = Outcome(edit_id, outcome, reason, evidence, timings or {})
        return self._db.write(lambda connection: edit_rows.insert_outcome(connection, ending))

    def edit(self, edit_id: str) -> EditRecord:
        """One edit with its outcome. Raises NotFound with near ids."""
        return self._keyed(self._db.read(lambda connection: edit_rows.find_edit(connection, edit_id)))

    def records(self, edit_ids: Sequence[str]) -> list[EditRecord]:
        """Many edits, in the order of the ids. Raises NotFound for the first unknown one."""
        found = self._db.read(lambda connection: edit_rows.find_edits(connection, edit_ids))
        return [self._keyed(record) for record in found]

    def edits(
        self, space: str | None = None, live_only: bool = False, limit: int = 50, after: str | None = None
    ) -> Page:
        """Edits newest first: those begun in a space, or with `live_only` those live there.

        `space` None means every space; `after`: the `next` of the page before. Raises NotFound for another one,
        and for an edit that was never listed for the space.
        """

        def work(connection: Connection) -> Page:
            if after is not None:
                _check_is_listed(connection, space, after)
            choose = _live_ids if live_only else _begun_ids
            ids = choose(connection, space, after, limit + 1)
            found = edit_rows.live_edits(connection, ids[:limit])
            return Page(tuple(map(self._keyed, found)), found[-1].id if len(ids) > limit else None)

        return self._db.read(work)

    def spaces_with(self, edit_ids: Collection[str]) -> list[Space]:
        """The living spaces in whose own head one of some edits is live, by name."""

        def work(connection: Connection) -> list[Space]:
            every = space_rows.all_spaces(connection)
            heads = version_rows.heads(connection, [space.id for space in every])
            wanted = frozenset(edit_ids)
            return [space for space, head in zip(every, heads, strict=True) if wanted.intersection(head.live)]

        return self._db.read(work)

    def pending(self) -> list[EditRecord]:
        """Edits without an outcome, oldest first: under way, or left by a crash."""
        found = self._db.read(edit_rows.pending_edits)
        return [self._keyed(record) for record, _ in found]

    def consolidated_into(self, note_id: str) -> list[str]:
        """Ids of the committed edits that have taken a note's fact into the weights: one per space that did so."""
        return self._db.read(lambda connection: edit_rows.consolidated_into(connection, note_id))

    def live_edits(self, names: Sequence[str]) -> dict[str, tuple[EditRecord, ...]]:
        """The edits live at the head of each space, in the order in which they compose."""

        def work(connection: Connection) -> dict[str, tuple[EditRecord, ...]]:
            live = [head.live for head in _heads(connection, names)]
            rows = edit_rows.live_edits(connection, [edit for line in live for edit in line])
            found = {row.id: self._keyed(row) for row in rows}
            return {name: tuple(found[edit] for edit in line) for name, line in zip(names, live, strict=True)}

        return self._db.read(work)

    def artefacts(self) -> set[str]:
        """Hashes that committed or pending edits name: what `ArtefactStore.collect` must keep."""

        def work(connection: Connection) -> set[str]:
            return edit_rows.named_artefacts(connection) | rendition_rows.named_artefacts(connection)

        return self._db.read(work)

    def renditions(self, model: str) -> dict[str, Rendition]:
        """What was computed anew for a model, by edit."""
        return self._db.read(lambda connection: rendition_rows.renditions_for(connection, model))

    def render(self, space: str, expected_version: int, made: Sequence[Rendition], reason: str) -> Version:
        """Append renditions of a space's live edits, with a version of the same edits that tells others of them.

        Raises Conflict when the head is not `expected_version`, or an edit has a rendition for that model.
        """

        def work(connection: Connection) -> Version:
            found = space_rows.find_space(connection, space)
            head = version_rows.heads(connection, [found.id])[0]
            rendition_rows.insert_renditions(connection, made)
            return version_rows.append_version(connection, found, expected_version, head.live, reason)

        return self._db.write(work)

    # --- versions ---

    def commit(
        self,
        space: str,
        expected_version: int,
        live: Sequence[str],
        reason: str,
        edit_id: str | None = None,
        outcomes: Sequence[Outcome] = (),
        *,
        lift: bool = False,
        by: Provenance | None = None,
    ) -> Version:
        """Append version `expected_version + 1` and the outcomes of its edits: both or neither.

        `lift`: whether an erasure that was live may no longer be. Raises HeadMoved when the head is not
        `expected_version`, Conflict when an edit has ended already, Forbidden when an erasure would end,
        InvalidRequest when an edit in `live` is not committed.
        """

        def work(connection: Connection) -> Version:
            found = space_rows.find_space(connection, space)
            version = expected_version, live, reason, edit_id, outcomes
            return version_rows.append_version(connection, found, *version, lift=lift, by=by)

        written = self._db.write(work)
        if self._mark:
            self._mark.note(written.sequence)
        self._listener(version_event(written))
        return written

    def head(self, space: str) -> Version:
        """A space's newest version. Raises NotFound for an unknown space."""
        return self.heads([space])[0]

    def heads(self, names: Sequence[str]) -> list[Version]:
        """The newest version of each space, all of one moment."""
        return self._db.read(lambda connection: _heads(connection, names))

    def state(self, name: str, known: Container[str] = ()) -> tuple[SpaceState, list[EditRecord]]:
        """A space and the heads along its chain, with the live edits there that are not `known`, of one moment."""

        def work(connection: Connection) -> tuple[SpaceState, list[EditRecord]]:
            space = space_rows.find_space(connection, name)
            heads = tuple(version_rows.heads(connection, space.chain_ids))
            unknown = [edit for head in heads for edit in head.live if edit not in known]
            numbers = version_rows.last_sequence(connection), rendition_rows.last_number(connection)
            state = SpaceState(space, heads, *numbers)
            return state, [self._keyed(record) for record in edit_rows.live_edits(connection, unknown)]

        return self._db.read(work)

    def version(self, space: str, number: int) -> Version:
        """One version of a space. Raises NotFound telling which there are."""

        def work(connection: Connection) -> Version:
            return version_rows.find_version(connection, space_rows.find_space(connection, space), number)

        return self._db.read(work)

    def history(self, space: str, limit: int | None = None) -> list[Version]:
        """A space's versions, newest first."""

        def work(connection: Connection) -> list[Version]:
            return version_rows.versions_of(connection, space_rows.find_space(connection, space), limit)

        return self._db.read(work)

    def live_before(self, edit_id: str) -> tuple[str, ...]:
        """What was live in an edit's space just before the edit was committed; empty if it never was."""

        def work(connection: Connection) -> tuple[str, ...]:
            edit_rows.find_edit(connection, edit_id)
            return version_rows.live_before(connection, edit_id)

        return self._db.read(work)

    # --- jobs ---

    def new_job_id(self) -> str:
        """A fresh id for `job_event`."""
        return self._ids.new("j")

    def job_event(
        self,
        job_id: str,
        *,
        kind: str,
        state: JobState,
        space: str | None = None,
        progress: float = 0.0,
        message: str = "",
        result: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> Job:
        """Append an event to a job, which begins with its first one.

        `arguments` of the first event are kept: with them another server can run the job when this one dies. Only
        events with arguments wait for the disk.
        Raises Conflict when the job has ended, or when another server has taken it over.
        """
        me = self._writers.me
        event = Job(job_id, space, kind, state, progress, message, result, 0.0, time.time(), arguments, me)
        durable = arguments is not None  # a job that was accepted is not to be lost
        return self._db.write(lambda connection: job_rows.insert_event(connection, event), durable=durable)

    def job(self, job_id: str) -> Job:
        """A job's latest state. Raises NotFound with near ids."""
        return self._db.read(lambda connection: job_rows.find_job(connection, job_id))

    def jobs(self, space: str | None = None, limit: int = 50) -> list[Job]:
        """The latest state of jobs, those with the newest event first."""
        return self._db.read(lambda connection: job_rows.find_jobs(connection, space, limit))

    def cancel_job(self, job_id: str) -> Job:
        """Ask whoever runs a job to stop it. Raises Conflict when it has ended."""

        def work(connection: Connection) -> Job:
            job = job_rows.find_job(connection, job_id)
            event = replace(job, state="cancelling", updated_at=time.time())
            return job_rows.insert_event(connection, event)

        return self._db.write(work, durable=False)

    def own_jobs(self) -> list[Job]:
        """The jobs that this writer has to finish."""
        found = self._db.read(job_rows.unfinished_jobs)
        return [job for job in found if job.writer == self._writers.me]

    def take_over(self, kinds: Collection[str]) -> list[Job]:
        """Jobs of dead writers that are this writer's from now on, queued; each goes to one writer only.

        What was to be cancelled ends so.
        """

        def work(connection: Connection) -> list[Job]:
            taken = []
            for job in self._left_jobs(connection):
                if job.kind in kinds and job.arguments is not None:
                    state: JobState = "cancelled" if job.state == "cancelling" else "queued"
                    taken.append(self._take(connection, job, state, "taken over from a server that died"))
            return [job for job in taken if job.state == "queued"]

        return self._db.write(work) if self._db.read(self._left_jobs) else []

    def _left_jobs(self, connection: Connection) -> list[Job]:
        left = self._writers.look(connection)
        return [job for job in job_rows.unfinished_jobs(connection) if left(job.writer, job.updated_at)]

    def _take(self, connection: Connection, job: Job, state: JobState, message: str) -> Job:
        event = replace(job, state=state, message=message, updated_at=time.time(), writer=self._writers.me)
        return job_rows.insert_event(connection, event, take_over=True)

    # --- after a crash ---

    def recover(self) -> list[str]:
        """Close what dead writers left: pending edits, and jobs that nobody can take over, become failed.

        Returns their ids. Nothing of a pending edit is live, so there is nothing to take back.
        """

        def left(connection: Connection) -> tuple[list[EditRecord], list[Job]]:
            gone = self._writers.look(connection)
            edits = [e for e, writer in edit_rows.pending_edits(connection) if gone(writer, e.created_at)]
            return edits, [job for job in self._left_jobs(connection) if job.arguments is None]

        def work(connection: Connection) -> list[str]:
            edits, jobs = left(connection)
            for edit in edits:
                edit_rows.insert_outcome(connection, Outcome(edit.id, "failed", "interrupted"))
            for job in jobs:
                self._take(connection, job, "failed", "interrupted")
            return [*(edit.id for edit in edits), *(job.id for job in jobs)]

        return self._db.write(work) if any(self._db.read(left)) else []


def _heads(connection: Connection, names: Sequence[str]) -> list[Version]:
    return version_rows.heads(connection, [space_rows.find_space(connection, name).id for name in names])


def _check_is_listed(connection: Connection, space: str | None, edit_id: str) -> None:
    """Raise NotFound, the same for unknown edits and for those of other spaces."""
    record = edit_rows.find_edit(connection, edit_id)
    if space is None:
        return
    found = space_rows.find_space(connection, space)
    if record.space_id != found.id and not version_rows.was_live(connection, found, edit_id):
        raise NotFound("edit", edit_id)


def _begun_ids(connection: Connection, space: str | None, after: str | None, limit: int) -> list[str]:
    """Edits begun in a space (None: in any), newest first."""
    found = space_rows.find_space(connection, space).id if space is not None else None
    return edit_rows.edit_ids(connection, found, after, limit)


def _live_ids(connection: Connection, space: str | None, after: str | None, limit: int) -> list[str]:
    """Edits live in a space (None: in any), newest first."""
    every = [space_rows.find_space(connection, space)] if space else space_rows.all_spaces(connection)
    heads = version_rows.heads(connection, [one.id for one in every])
    live = {edit for head in heads for edit in head.live}
    return sorted((edit for edit in live if after is None or edit < after), reverse=True)[:limit]
