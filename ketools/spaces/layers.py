"""Spaces with the edit layer that each of them sees."""

from __future__ import annotations

from collections.abc import Sequence

from ketools.core.errors import StorageError
from ketools.journal import EditRecord, Journal, SpaceState, Version
from ketools.layers.composition import EditLayer, LiveEdit
from ketools.layers.store import ArtefactStore
from ketools.spaces.serving import Model
from ketools.spaces.spaces import Recent, Spaces


class LayeredSpaces(Spaces):
    """Spaces whose edits are read from the store and composed."""

    store: ArtefactStore

    def __init__(
        self, journal: Journal, store: ArtefactStore, model: Model | None = None, engine: str = "local"
    ) -> None:
        super().__init__(journal, store, model, engine)
        self._layers: Recent[tuple[tuple[str, str], ...], EditLayer] = Recent(64)

    def layer(self, space: str, version: int | None = None) -> EditLayer:
        """What the space sees: its ancestors' live edits, root first, then its own, as far as they are served.

        `version`: of the space's own edits, by default the head. An edit of a fact hides the ancestors' edits
        of the same fact. Spaces that see the same edits share one layer object. Raises NotFound, or
        StorageError when an artefact is missing or corrupt.
        """
        return self._layer(self._versions(space, version))

    def layer_of(self, state: SpaceState) -> EditLayer:
        """The layer that the space saw at that moment."""
        return self._layer(state.heads)

    def _layer(self, versions: Sequence[Version]) -> EditLayer:
        served = [record for record in self._visible(versions) if not self.objection(record)]
        key = tuple((record.id, self.artefact_of(record)) for record in served)
        if (layer := self._layers.get(key)) is None:
            layer = EditLayer(
                tuple(self._live_edit(record, name) for record, (_, name) in zip(served, key, strict=True))
            )
            self._layers.put(key, layer)
        return layer

    def _live_edit(self, record: EditRecord, name: str) -> LiveEdit:
        try:
            return LiveEdit(record.id, name, self.store.get(name))
        except StorageError as error:
            raise StorageError(f"The edit {record.id} of {record.space!r} cannot be served. {error}") from error
