"""Moves notes into weights.

A note serves at once; the parametric edit of the same fact takes its place when it verifies at least as well.
The journal keeps both: the new edit's outcome names the note, so undoing either takes the fact off.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ketools.core.errors import Cancelled, KetoolsError, StorageUnavailable
from ketools.core.jobs import Handler
from ketools.core.principals import Provenance
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest, Kind
from ketools.editing.pipeline import EditPipeline
from ketools.methods.registry import get_method

log = logging.getLogger(__name__)


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
    """Replace notes by parametric edits, each in a version of its own; one that cannot move stays, with why.

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
    if note.kind is Kind.ERASE:
        return None, "The journal does not keep what an erasure erases. Erase it anew with method=auto, then undo this."
    try:
        outcome = pipeline.run(
            Provenance(note.principal, note.client, note.why),
            space,
            [EditRequest.model_validate(note.request)],
            get_method(method),
            progress=progress,
            retire=(note_id,),
            consolidates=note_id,
            floor=note.outcome.evidence if note.outcome else None,
        )
    except (Cancelled, StorageUnavailable):
        raise
    except KetoolsError as error:
        return None, str(error)  # such as: undone, replaced, or moved already
    except Exception:
        log.exception("consolidating %s failed", note_id)
        return None, "An internal error; the note stays, and the server's log has the details."
    candidate = outcome.candidates[0]
    if outcome.version is None or candidate.live is None:
        return None, candidate.objection or str(candidate.error)
    return candidate.live.edit_id, ""
