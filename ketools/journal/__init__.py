"""The append-only record of spaces, edits, evidence, versions and jobs."""

from ketools.core.space_names import ROOT, check_space_name
from ketools.journal.edit_rows import would_lift
from ketools.journal.journal import Journal
from ketools.journal.records import (
    EditRecord,
    Ending,
    Job,
    JobState,
    Outcome,
    Page,
    Proposal,
    Rendition,
    Space,
    SpaceState,
    Version,
)
from ketools.journal.redaction import REDACTED, scrub

__all__ = [
    "REDACTED",
    "ROOT",
    "EditRecord",
    "Ending",
    "Job",
    "JobState",
    "Journal",
    "Outcome",
    "Page",
    "Proposal",
    "Rendition",
    "Space",
    "SpaceState",
    "Version",
    "check_space_name",
    "scrub",
    "would_lift",
]
