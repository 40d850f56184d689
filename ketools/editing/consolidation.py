"""Moves notes into weights.

A note serves at once; the parametric edit of the same fact takes its place when it verifies at least as well.
The journal keeps both: the new edit's outcome names the note, so undoing either takes the fact off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ketools.core.errors import Conflict
from ketools.core.jobs import Handler
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest
from ketools.editing.pipeline import EditPipeline
from ketools.spaces.standing import CONSOLIDATES


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
