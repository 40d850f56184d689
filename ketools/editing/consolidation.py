"""Moves notes into weights, and knows which edit then stands for which.

A note serves at once; the parametric edit of the same fact takes its place when it verifies at least as well.
The journal keeps both: the new edit's outcome names the note, so undoing either takes the fact off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ketools.core.errors import Conflict, InvalidRequest
from ketools.core.progress import Handler, Progress
from ketools.core.requests import EditRequest
from ketools.editing.pipeline import EditPipeline
from ketools.journal import EditRecord, Journal

CONSOLIDATE = "consolidate"
CONSOLIDATES = "consolidates "


def consolidation(pipeline: EditPipeline) -> Handler:
    """The job of moving notes into weights. Arguments: `notes`, the edits' ids, and `method`.

    It may run again after it was interrupted: what has moved already is no longer live as a note.
    """

    def run(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        return consolidate(pipeline, space, arguments["notes"], arguments["method"], progress)

    return run


def consolidate(
    pipeline: EditPipeline, space: str, note_ids: Sequence[str], method: str, progress: Progress
) -> dict[str, Any]:
    """Replace notes by parametric edits, each in a version of its own.

    Returns `{"consolidated": count, "edits": {note: new edit}, "kept": {note: why}, "method": name}`.
    """
    moved: dict[str, str] = {}
    kept: dict[str, str] = {}
    for i, note_id in enumerate(note_ids):
        progress(i, len(note_ids), f"consolidating {note_id}")
        new_id, why = _consolidate_one(pipeline, space, note_id, method, progress)
        if new_id is None:
            kept[note_id] = why
        else:
            moved[note_id] = new_id
    return {"consolidated": len(moved), "edits": moved, "kept": kept, "method": method}


def _consolidate_one(
    pipeline: EditPipeline, space: str, note_id: str, method: str, progress: Progress
) -> tuple[str | None, str]:
    note = pipeline.journal.edit(note_id)
    try:
        outcome = pipeline.run(
            note.principal,
            space,
            [EditRequest.model_validate(note.request)],
            method,
            progress=progress,
            retire=(note_id,),
            reason=f"{CONSOLIDATES}{note_id}",
            floor=note.outcome.evidence if note.outcome else None,
        )
    except Conflict as error:
        return None, str(error)  # undone, replaced, or moved already
    candidate = outcome.candidates[0]
    if outcome.version is None or candidate.live is None:
        return None, candidate.objection or str(candidate.error)
    return candidate.live.edit_id, ""


def standing_for(journal: Journal, record: EditRecord) -> EditRecord:
    """The live edit that stands for a record: itself, or what it was consolidated into.

    Raises InvalidRequest when neither is live.
    """
    for other in journal.live_edits([record.space])[record.space]:
        reason = other.outcome.reason if other.outcome else ""
        if other.id == record.id or reason == f"{CONSOLIDATES}{record.id}":
            return other
    raise InvalidRequest(
        f"{record.id} is not live in {record.space}: it was undone, replaced or never committed. "
        "Call list_edits to see what is."
    )


def origin_of(journal: Journal, record: EditRecord) -> EditRecord:
    """The note that a parametric edit was consolidated from, else the edit itself."""
    reason = record.outcome.reason if record.outcome else ""
    return journal.edit(reason.removeprefix(CONSOLIDATES)) if reason.startswith(CONSOLIDATES) else record
