"""Notes: facts that are put into the prompt when it asks for them (ICE, IKE)."""

from ketools.notes.demonstrations import DemonstrationPool
from ketools.notes.injection import (
    Budget,
    Hit,
    NoteBook,
    NoteInjector,
    Prepared,
    budget_of,
    statement,
)
from ketools.notes.serving import ScopedEngine

__all__ = [
    "Budget",
    "DemonstrationPool",
    "Hit",
    "NoteBook",
    "NoteInjector",
    "Prepared",
    "ScopedEngine",
    "budget_of",
    "statement",
]
