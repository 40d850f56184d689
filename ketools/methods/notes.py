"""Methods whose artefact is a note; what the prompt then says is chosen when the note is in scope."""

from __future__ import annotations

from collections.abc import Sequence

from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.kinds.note import Note
from ketools.methods.base import Compute, EditContext

NOTE_METHOD = "ice"
"""The method by which `auto` states a fact at once."""


def noting(method: str) -> Compute:
    """A computation that notes each request under that method's name."""

    def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
        return [Note(method, request) for request in requests]

    return compute
