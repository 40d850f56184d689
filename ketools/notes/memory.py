"""What a space knows by its edits, as facts to search: the memory that agents ask.

Every live insertion and modification of the chain counts, whether a note or the weights serve it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock

from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS, EditRequest, Kind
from ketools.journal import EditRecord
from ketools.notes.injection import statement
from ketools.notes.scope import request_relation
from ketools.retrieval import Encoder, Fact, FactIndex, FactView
from ketools.spaces.spaces import Spaces

KEPT_VIEWS = 16


def fact_of(edit_id: str, request: EditRequest) -> Fact:
    """What an edit says, as a fact; its key is the request's with the relation filled in where it is known."""
    relation = request_relation(request)
    named = request if relation is None else request.model_copy(update={"relation": relation.name})
    return Fact(
        id=edit_id,
        key=named.key,
        subject=request.subject,
        relation=relation.name if relation else request.relation,
        target=request.target_new,
        text=statement(request) if request.kind in FACTS else "",
    )


def remember(requests: Iterable[tuple[str, EditRequest]], encoder: Encoder, progress: Progress = quiet) -> FactView:
    """A memory of its own over (edit id, request) pairs, oldest first, for evaluation and for tests."""
    index = FactIndex(encoder)
    index.add(fact_of(edit_id, request) for edit_id, request in requests)
    index.prepare(progress)
    return index.view()


class Memory:
    """The facts of every space, searched through what a space sees. Thread-safe.

    `path`: the index, which is derived from the journal: what is live and missing there is added when a space
    is asked. It is opened on first use.
    """

    def __init__(self, spaces: Spaces, encoder: Encoder, path: Path) -> None:
        self._spaces, self._encoder, self._path = spaces, encoder, path
        self._opened: FactIndex | None = None
        self._views: OrderedDict[tuple[str, ...], FactView] = OrderedDict()
        self._lock = RLock()

    def close(self) -> None:
        """Close the index, if it was opened."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None
            self._views.clear()

    def view(self, space: str) -> FactView:
        """What the space sees: its chain's live facts, an own one in place of an inherited one with its key.

        Raises NotFound for an unknown space, StorageError when the index cannot be written.
        """
        return self.of(record.id for record in self._spaces.visible(space))

    def of(self, edit_ids: Iterable[str]) -> FactView:
        """The facts of some committed edits, such as a layer's, oldest first."""
        ids = tuple(edit_ids)
        with self._lock:
            if (known := self._views.get(ids)) is None:
                known = self._views[ids] = self._build(ids)
            self._views.move_to_end(ids)
            while len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
        return known

    def _build(self, ids: Sequence[str]) -> FactView:
        index = self._opened = self._opened or FactIndex(self._encoder, self._path)
        index.add(map(_recorded, self._spaces.journal.records(index.missing(ids))))
        return index.view(ids)


def _recorded(record: EditRecord) -> Fact:
    """A journalled edit as a fact, under the journal's own key. An erasure's text is not kept."""
    if record.kind is Kind.ERASE:
        return Fact(record.id, record.key_hash, "", None, "", "")
    return replace(fact_of(record.id, EditRequest.model_validate(record.request)), key=record.key_hash)
