"""Notes: facts that are put into the prompt when it asks for them (ICE, IKE)."""

from ketools.notes.demonstrations import DemonstrationPool
from ketools.notes.injection import Budget, Hit, Injected, NoteBook, NoteInjector, budget_of, inject, statement

__all__ = [
    "Budget",
    "DemonstrationPool",
    "Hit",
    "Injected",
    "NoteBook",
    "NoteInjector",
    "budget_of",
    "inject",
    "statement",
]
