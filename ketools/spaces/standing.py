"""Which edit stands for which, once notes have been consolidated into weights."""

from __future__ import annotations

from ketools.core.errors import InvalidRequest
from ketools.journal import EditRecord, Journal


def standing_ids(journal: Journal, record: EditRecord) -> set[str]:
    """The ids under which an edit may be live: its own, and those of what it was consolidated into."""
    return {record.id, *journal.consolidated_into(record.id)}


def standing_for(journal: Journal, record: EditRecord, space: str | None = None) -> EditRecord:
    """The live edit that stands for a record in a space, by default its own: itself, or what it was consolidated into.

    Raises InvalidRequest when neither is live.
    """
    where, ids = space or record.space, standing_ids(journal, record)
    for edit_id in journal.head(where).live:
        if edit_id in ids:
            return journal.edit(edit_id)
    raise InvalidRequest(
        f"{record.id} is not live in {where}: it was undone, replaced or never committed. "
        "Call list_edits to see what is."
    )


def origin_of(journal: Journal, record: EditRecord) -> EditRecord:
    """The note that a parametric edit was consolidated from, else the edit itself."""
    note = record.outcome.consolidates if record.outcome else None
    return journal.edit(note) if note else record
