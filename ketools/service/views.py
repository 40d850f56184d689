"""Turns what the pipeline and the journal say into what a caller reads. An erased fact shows no text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from ketools.core.errors import KetoolsError, StorageError
from ketools.core.requests import EditRequest, Kind
from ketools.core.results import BatchResult, EditResult, EditView
from ketools.journal import EditRecord
from ketools.knowledge.matching import refuses
from ketools.knowledge.suspicion import suspicions
from ketools.service.changes import texts_of
from ketools.spaces.spaces import Spaces

if TYPE_CHECKING:
    from ketools.editing.pipeline import Candidate, EditOutcome
    from ketools.editing.verification import Verdict


WEAK = (
    "Weak evidence: nothing was asked in other words, or too little that must stay the same. "
    "For a verdict, edit again with rephrases=[three other ways to ask] and probes of facts that must not change."
)


def edit_result(
    space: str,
    method: str,
    outcome: EditOutcome,
    candidate: Candidate,
    job_id: str | None,
    created: bool,
    dry_run: bool,
) -> EditResult:
    """What became of one candidate of an outcome."""
    committed = outcome.version is not None and candidate.passed
    verdict = candidate.verdict
    hidden = candidate.request.kind is Kind.ERASE
    edit_id = candidate.live.edit_id if candidate.live and not dry_run else None
    return EditResult(
        edit_id=edit_id,
        status="dry_run" if dry_run and candidate.passed else "committed" if committed else _status(candidate),
        verified=candidate.passed and verdict is not None and _strong(verdict) and not _only_hidden(candidate),
        space=space,
        version=outcome.version.version if committed and outcome.version else None,
        method=method,
        before="" if hidden or verdict is None else verdict.before,
        after="" if verdict is None or (hidden and not refuses(verdict.after)) else verdict.after,
        evidence=verdict.evidence if verdict else None,
        supersedes=tuple(r.id for r in candidate.replaces),
        conflicts=candidate.conflicts(),
        job_id=job_id if committed else None,
        created_space=created,
        timings=outcome.timings,
        reason=_reason(candidate, committed),
        suspicious=suspicions(texts_of(candidate.request)),
        next=_next(candidate, committed, job_id, dry_run),
    )


def _status(candidate: Candidate) -> Literal["failed", "refused"]:
    return "failed" if candidate.error else "refused"


def _strong(verdict: Verdict) -> bool:
    return verdict.evidence.strength == "strong"


def _only_hidden(candidate: Candidate) -> bool:
    """An erasure by a note alone: the weights still hold the fact."""
    return candidate.request.kind is Kind.ERASE and candidate.is_note


def _reason(candidate: Candidate, committed: bool) -> str:
    if _only_hidden(candidate):
        return "Hidden, not erased: a note leaves the fact in the weights. Use method=auto to erase it."
    if candidate.error:
        return str(candidate.error)
    if committed and candidate.verdict and not _strong(candidate.verdict):
        return WEAK
    return candidate.objection or ("" if committed else "Nothing was committed.")


def _next(candidate: Candidate, committed: bool, job_id: str | None, dry_run: bool) -> str:
    if committed and job_id:
        return f"undo_edit takes it back; job_status {job_id} tells when it is in the weights."
    if committed:
        return "undo_edit takes it back."
    if candidate.objection:
        return "Nothing changed. Try another method (list_methods), or give better rephrases or probes."
    if candidate.error:
        return "Nothing changed. Do what the reason says, and call again."
    return "Nothing changed. Call again without dry_run to commit it." if dry_run else ""


def edit_view(record: EditRecord, live: set[str], spaces: Spaces) -> EditView:
    """One row of the journal; `live`: the ids that are live now, `spaces`: which of them the model at hand serves."""
    erased = record.kind is Kind.ERASE
    fact = f"[erased] key {record.key_hash[:16]}"
    outcome = record.outcome
    return EditView(
        edit_id=record.id,
        space=record.space,
        kind=record.kind,
        method=record.method,
        outcome=outcome.outcome if outcome else "pending",
        live=record.id in live,
        created_at=datetime.fromtimestamp(record.created_at, UTC).isoformat(timespec="milliseconds"),
        principal=record.principal,
        fact=fact if erased else EditRequest.model_validate(record.request).sentence,
        evidence=spaces.evidence_of(record),
        reason=outcome.reason if outcome else "",
        client=record.client,
        why=record.why,
        not_served=_objection(record, spaces) if record.id in live else "",
    )


def _objection(record: EditRecord, spaces: Spaces) -> str:
    try:
        return spaces.objection(record)
    except StorageError as error:
        return str(error)


def with_problems(batch: BatchResult, problems: Mapping[int, KetoolsError], total: int, space: str) -> BatchResult:
    """Put the facts that never started back into their places."""
    rest = iter(batch.results)
    blank = {"edit_id": None, "status": "failed", "verified": False, "space": space, "version": None}
    rows = [
        EditResult(**blank, method="", before="", after="", reason=str(problems[i])) if i in problems else next(rest)
        for i in range(total)
    ]
    return batch.model_copy(update={"results": tuple(rows), "failed": batch.failed + len(problems)})
