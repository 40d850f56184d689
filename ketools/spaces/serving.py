"""Which edits are served on the model at hand, and why others are not. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ketools.journal import EditRecord
from ketools.layers.files import ArtefactFiles, Header
from ketools.layers.registry import objection


class Model(Protocol):
    """What must be known of the model that serves (see `ketools.models.identity`)."""

    @property
    def hash(self) -> str: ...

    def fits(self, sizes: Mapping[str, tuple[int, int]]) -> bool:
        """Whether the model has linear modules of these names and (in, out) sizes."""
        ...


class Serving:
    """Decides by the journal's columns; of edits that were written before it had them, by the artefact's header.

    `engine`: the one that serves, which may not know every kind of artefact. Without a `model` edits of every model are
    served.
    """

    def __init__(self, files: ArtefactFiles, model: Model | None = None, engine: str = "local") -> None:
        self._files, self._engine, self.model = files, engine, model

    def objection(self, record: EditRecord, form: str | None) -> str:
        """Why the edit is not served, or an empty string. `form`: of its rendition for this model, if there is one.

        Raises `StorageError` when an artefact that must be looked at is missing or corrupt.
        """
        if form is not None:
            return objection(form, self._engine)
        if record.form is None or record.model is None:
            return self._of_before(record)
        return objection(record.form, self._engine) or (self._foreign(record) if record.model else "")

    def _foreign(self, record: EditRecord) -> str:
        if self.model is None or record.model == self.model.hash:
            return ""
        return f"It was made for another model ({record.model}): `ketools rebase {record.space}` computes it for this."

    def _of_before(self, record: EditRecord) -> str:
        """An edit of which it is not recorded for which model it was made: served where its sizes fit."""
        header = self._files.header(record.artefact or "")
        kind = objection(header.form, self._engine)
        if kind or self.model is None or self.model.fits(sizes_of(header)):
            return kind
        return f"It was made for a model of other sizes: `ketools rebase {record.space}` computes it for this."


def sizes_of(header: Header) -> dict[str, tuple[int, int]]:
    """(in, out) of each module that an artefact of the first kinds changes; none for a note.

    Its tensors: factors A `[r, in]` and B `[out, r]`, a delta D `[out, in]`, keys K `[n, in]` and values V `[n, out]`.
    """
    inputs: dict[str, int] = {}
    outputs: dict[str, int] = {}
    for name, shape in header.shapes.items():
        letter, _, module = name.partition(":")
        if letter in "AKD":
            inputs[module] = shape[1]
        if letter in "BD":
            outputs[module] = shape[0]
        if letter == "V":
            outputs[module] = shape[1]
    return {module: (width, outputs[module]) for module, width in inputs.items() if module in outputs}
