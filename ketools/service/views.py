"""Turns what the road and the journal say into what a caller reads. An erased fact shows no text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from ketools.core.errors import KetoolsError
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.core.results import BatchResult, EditResult, EditView
from ketools.editing.pipeline import Arrival, Draft
from ketools.journal import EditRecord
from ketools.knowledge.matching import says
from ketools.layers.artefacts import Note


def edit_result(
    space: str, method: str, arrival: Arrival, draft: Draft, job_id: str | None, created: bool, dry_run: bool
) -> EditResult:
    """What became of one draft of an arrival."""
    committed = arrival.version is not None and draft.passed
    verdict = draft.verdict
    hidden = draft.request.kind is Kind.ERASE
    edit_id = draft.live.edit_id if draft.live and not dry_run else None
    return EditResult(
        edit_id=edit_id,
        status="dry_run" if dry_run and draft.passed else "committed" if committed else _status(draft),
        verified=draft.passed and verdict is not None and not _only_hidden(draft),
        space=space,
        version=arrival.version.version if committed and arrival.version else None,
        method=method,
        before="" if hidden or verdict is None else verdict.before,
        after="" if verdict is None or (hidden and not says(verdict.after, REFUSAL)) else verdict.after,
        evidence=verdict.evidence if verdict else None,
        own_phrasings=len(draft.request.rephrases),
        supersedes=tuple(r.id for r in draft.replaces),
        conflicts=draft.conflicts(),
        job_id=job_id if committed else None,
        created_space=created,
        timings=arrival.timings,
        reason=_reason(draft, committed),
        next=_next(draft, committed, job_id, dry_run),
    )


def _status(draft: Draft) -> Literal["failed", "refused"]:
    return "failed" if draft.error else "refused"


def _only_hidden(draft: Draft) -> bool:
    """An erasure by a note alone: the weights still hold the fact."""
    erase = draft.request.kind is Kind.ERASE
    return erase and draft.live is not None and isinstance(draft.live.artefact, Note)


def _reason(draft: Draft, committed: bool) -> str:
    if _only_hidden(draft):
        return "Hidden, not erased: a note leaves the fact in the weights. Use method=auto to erase it."
    return str(draft.error) if draft.error else draft.objection or ("" if committed else "Nothing was committed.")


STRONGER = " Verified on template phrasings only: three rephrases of yours make the verdict stronger."


def _next(draft: Draft, committed: bool, job_id: str | None, dry_run: bool) -> str:
    more = "" if draft.request.rephrases or draft.request.kind is Kind.PERSONALITY else STRONGER
    if committed and job_id:
        return f"undo_edit takes it back; job_status {job_id} tells when it is in the weights.{more}"
    if committed:
        return f"undo_edit takes it back.{more}"
    if draft.objection:
        return "Nothing changed. Try another method (list_methods), or give better rephrases or probes."
    if draft.error:
        return "Nothing changed. Do what the reason says, and call again."
    return "Nothing changed. Call again without dry_run to commit it." if dry_run else ""


def edit_view(record: EditRecord, live: set[str]) -> EditView:
    """One row of the journal; `live`: the ids that serve now."""
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
        evidence=outcome.evidence if outcome else None,
        reason=outcome.reason if outcome else "",
    )


def with_problems(batch: BatchResult, problems: Mapping[int, KetoolsError], total: int, space: str) -> BatchResult:
    """Put the facts that never started back into their places."""
    rest = iter(batch.results)
    blank = {"edit_id": None, "status": "failed", "verified": False, "space": space, "version": None}
    rows = [
        EditResult(**blank, method="", before="", after="", reason=str(problems[i])) if i in problems else next(rest)
        for i in range(total)
    ]
    return batch.model_copy(update={"results": tuple(rows), "failed": batch.failed + len(problems)})
