"""Which edit stands for which, once notes have been consolidated into weights."""

from __future__ import annotations

from ketools.core.errors import InvalidRequest
from ketools.journal import EditRecord, Journal

CONSOLIDATES = "consolidates "


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
