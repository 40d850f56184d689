"""Spaces: named lines of versions with parents, and the edits that each of them sees.

Importing this imports no torch: what only moves heads and lists edits needs no model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Generic, TypeVar

from ketools.core.errors import Conflict, HeadMoved, InvalidRequest, NotFound, StorageError
from ketools.core.evidence import Evidence
from ketools.core.principals import Provenance
from ketools.core.text import normalise
from ketools.journal import ROOT, EditRecord, Journal, Outcome, Rendition, Space, SpaceState, Version
from ketools.layers.artefacts import hash_of
from ketools.layers.files import ArtefactFiles
from ketools.spaces.serving import Model, Serving
from ketools.spaces.standing import standing_ids

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Undo:
    """What an undo did. `superseded`: what the edit had replaced, live again only if `brought_back`."""

    version: Version
    undone: EditRecord
    superseded: tuple[EditRecord, ...]
    brought_back: bool


@dataclass(frozen=True, slots=True)
class LiveChanges:
    """How what is visible in space a differs from what is visible in b.

    `changed`: pairs (a's edit, b's edit) of the same fact with other targets. Edits of the same fact with the
    same target count as equal.
    """

    only_a: tuple[EditRecord, ...]
    only_b: tuple[EditRecord, ...]
    changed: tuple[tuple[EditRecord, EditRecord], ...]


class Spaces:
    """Reads and moves spaces; thread-safe. Every change goes through `Journal.commit`.

    `model`: the one that serves; without it edits of every model are served. `engine`: what serves it.
    """

    def __init__(
        self, journal: Journal, store: ArtefactFiles, model: Model | None = None, engine: str = "local"
    ) -> None:
        self.journal, self.store, self._model = journal, store, model
        self._serving = Serving(store, model, engine)
        self._renditions: tuple[int, Mapping[str, Rendition]] = (0, {})
        self._states: Recent[str, SpaceState] = Recent(4096)
        self._records: Recent[str, EditRecord] = Recent(16384)

    # --- reading ---

    def chain(self, space: str) -> list[str]:
        """The names from the root down to the space itself. Raises NotFound."""
        return [version.space for version in self.state(space).heads]

    def state(self, space: str) -> SpaceState:
        """The space and the heads along its chain, read again only when anybody has written a version since.

        Raises NotFound.
        """
        counter = self.journal.change_counter()
        known = self._states.get(space)
        if known is None or known.sequence != counter:
            known, records = self.journal.state(space, self._records)
            self._states.put(space, known)
            self._note_renditions(known.renditions)
            for record in records:
                self._records.put(record.id, record)
        return known

    def moved(self, state: SpaceState, version: Version) -> None:
        """Take note of a version that was just written on top of a state, so that it need not be read.

        Only when nothing else was written between: then the rest of the state still holds.
        """
        if version.sequence == state.sequence + 1:
            heads = (*state.heads[:-1], version)
            self._states.put(version.space, SpaceState(state.space, heads, version.sequence, state.renditions))

    def lines(self, state: SpaceState) -> list[list[EditRecord]]:
        """The live edits of each space of the chain, root first, in the order in which they compose."""
        return [self._fetch(head.live) for head in state.heads]

    def layer_hash(self, space: str) -> str:
        """The content hash of the layer that the space sees (see `EditLayer.hash`); no artefact is read."""
        return hash_of(self.artefact_of(record) for record in self.visible(space) if not self.objection(record))

    # --- what serves on the model at hand ---

    def objection(self, record: EditRecord) -> str:
        """Why a committed edit is not served on the model at hand, or an empty string; as of the last `state`.

        Raises StorageError when an artefact that must be looked at is missing or corrupt.
        """
        rendition = self._rendition(record.id)
        return self._serving.objection(record, rendition.form if rendition else None)

    def artefact_of(self, record: EditRecord) -> str:
        """The hash of the artefact by which an edit is served on the model at hand."""
        rendition = self._rendition(record.id)
        return rendition.artefact if rendition else record.artefact or ""

    def evidence_of(self, record: EditRecord) -> Evidence | None:
        """What verification measured of the edit, on the model at hand if it was computed anew for it."""
        rendition = self._rendition(record.id)
        if rendition is not None:
            return rendition.evidence
        return record.outcome.evidence if record.outcome else None

    def _rendition(self, edit_id: str) -> Rendition | None:
        return self._renditions[1].get(edit_id)

    def _note_renditions(self, number: int) -> None:
        """Read the renditions for this model when there are newer ones."""
        if number != self._renditions[0] and self._model is not None:
            self._renditions = (number, self.journal.renditions(self._model.hash))

    def live(self, space: str, version: int | None = None) -> tuple[EditRecord, ...]:
        """The space's own live edits, in the order in which they compose."""
        return tuple(self._fetch(self._versions(space, version)[-1].live))

    def visible(self, space: str, version: int | None = None) -> tuple[EditRecord, ...]:
        """The edits that the space's layer is made of: `live` below what it inherits and does not hide."""
        return tuple(self._visible(self._versions(space, version)))

    def _visible(self, versions: Sequence[Version]) -> list[EditRecord]:
        seen: list[EditRecord] = []
        for one in versions:
            own = self._fetch(one.live)
            hidden = {record.key_hash for record in own}
            seen = [record for record in seen if record.key_hash not in hidden] + own
        return seen

    def same_key(self, space: str, key_hash: str) -> tuple[EditRecord, ...]:
        """The space's own live edits of a fact: what a new edit of it supersedes."""
        return tuple(record for record in self.live(space) if record.key_hash == key_hash)

    def diff(self, a: str, b: str) -> LiveChanges:
        """Compare what two spaces see."""
        in_a, in_b = self.visible(a), self.visible(b)
        shared = {record.id for record in in_a} & {record.id for record in in_b}
        by_key = {record.key_hash: record for record in in_b if record.id not in shared}
        only_a, changed = [], []
        for record in in_a:
            if record.id in shared:
                continue
            if (other := by_key.pop(record.key_hash, None)) is None:
                only_a.append(record)
            elif _target(record) != _target(other):
                changed.append((record, other))
        return LiveChanges(tuple(only_a), tuple(by_key.values()), tuple(changed))

    # --- making and ending spaces ---

    def create(self, name: str, parent: str | None = None, owner: str | None = None) -> Space:
        """Make a space without edits of its own; its parent is the root unless another one is named.

        Raises InvalidRequest for a bad, taken or cyclic name, NotFound for an unknown parent.
        """
        return self.journal.create_space(name, ROOT if parent is None else parent, owner)

    def ensure(self, name: str, parent: str, owner: str | None = None) -> bool:
        """Make a space unless somebody else just has; whether it was made. Raises as `create` does."""
        return self.journal.ensure_space(name, parent, owner)

    def fork(self, source: str, name: str, owner: str | None = None, by: Provenance | None = None) -> Space:
        """Make a space with the source's parent and live edits: a copy that then goes its own way.

        A fork of the root has no parent.
        """
        parent, head = self.journal.space(source).parent, self.journal.head(source)
        reason = f"fork of {source} at version {head.version}"
        return self.journal.create_space(name, parent, owner, live=head.live, reason=reason, by=by)

    def drop(self, space: str, *, with_children: bool = False, by: Provenance | None = None) -> tuple[str, ...]:
        """End a space. Raises InvalidRequest for the root, or when it has children that are not to go too."""
        return self.journal.drop_space(space, with_children=with_children, by=by)

    # --- moving heads ---

    def commit(
        self,
        space: str,
        outcomes: Outcome | Sequence[Outcome],
        reason: str = "edit",
        *,
        rebase: bool = True,
        lift: bool = False,
    ) -> Version:
        """Make begun edits live, in one new version, in the place of those that they supersede.

        When the head moved since the edits were computed, the commit is repeated on the new head, once, if it
        is still valid: nobody edited the same fact meanwhile, and what is superseded is still live. Raises
        Conflict otherwise, or at once with `rebase=False`; StorageError when an artefact is not in the store.
        Outcomes other than `committed` are written along, for batches of which a part was refused.
        """
        endings = (outcomes,) if isinstance(outcomes, Outcome) else tuple(outcomes)
        committed = [ending for ending in endings if ending.outcome == "committed"]
        records = self.journal.records([ending.edit_id for ending in committed])
        if not records:
            raise InvalidRequest("There is nothing to commit; pass at least one committed outcome.")
        self._require_artefacts(records)
        superseded = {edit_id for ending in committed for edit_id in ending.supersedes}
        base = self.journal.version(space, max(record.base_version for record in records))

        def attempt(again: bool) -> Version:
            head = self.journal.head(space) if again else base
            self._check_still_valid(records, superseded, base, head)
            live = [edit_id for edit_id in head.live if edit_id not in superseded]
            live += [record.id for record in records]
            return self.journal.commit(space, head.version, live, reason, records[0].id, endings, lift=lift)

        return _until_written(attempt) if rebase else attempt(False)

    def undo(
        self,
        space: str,
        edit_id: str,
        *,
        bring_back: bool = False,
        origin: EditRecord | None = None,
        lift: bool = False,
        by: Provenance | None = None,
    ) -> Undo:
        """Take one edit, not only the last, out of the space's live edits.

        What it had superseded stays out, unless `bring_back` puts it where it was. `origin`: the edit that
        this one was made from (a consolidated note), whose superseded edits count instead. `lift`: whether it
        may be an erasure. Raises NotFound for an unknown edit, InvalidRequest when it is not live here, Forbidden
        for an erasure that must stay.
        """
        record = self.journal.edit(edit_id)
        first = origin or record
        ids = first.outcome.supersedes if first.outcome else ()
        superseded = tuple(self._fetch(ids))

        def attempt(_again: bool) -> Undo:
            head = self.journal.head(space)
            self._check_live(head, record)
            live = [one for one in head.live if one != edit_id]
            if bring_back:
                self._require_artefacts(superseded)
                live = _put_back(live, self.journal.live_before(first.id), ids)
            version = self.journal.commit(space, head.version, live, f"undo of {edit_id}", edit_id, lift=lift, by=by)
            return Undo(version, record, superseded, bring_back and bool(superseded))

        return _until_written(attempt)

    def restore(self, space: str, version: int, *, lift: bool = False, by: Provenance | None = None) -> Version:
        """Make the live edits of an earlier version live again, as a new version.

        `lift`: whether erasures since then may end by it. Raises NotFound for an unknown version, Forbidden for an
        erasure that must stay; StorageError, and nothing is done, when an artefact that it needs is missing or
        corrupt.
        """
        live = self.journal.version(space, version).live
        self._require_artefacts(self._fetch(live))

        def attempt(_again: bool) -> Version:
            head = self.journal.head(space)
            reason = f"restore of version {version}"
            return self.journal.commit(space, head.version, live, reason, lift=lift, by=by)

        return _until_written(attempt)

    def revert(self, space: str, version: int, by: Provenance | None = None) -> Version:
        """Take back what one version changed, whatever came after it: its edits off, what it took off back.

        Also an erasure that it brought: whoever made the version is told that it was not made.
        """
        before, after = (self.journal.version(space, number).live for number in (version - 1, version))
        added = self.journal.records([one for one in after if one not in before])
        off = {one for record in added for one in standing_ids(self.journal, record)}

        def attempt(_again: bool) -> Version:
            head = self.journal.head(space)
            live = _put_back([one for one in head.live if one not in off], before, set(before).difference(after))
            return self.journal.commit(space, head.version, live, f"revert of version {version}", lift=True, by=by)

        return _until_written(attempt)

    # --- inside ---

    def _versions(self, space: str, version: int | None) -> tuple[Version, ...]:
        heads = self.state(space).heads
        return heads if version is None else (*heads[:-1], self.journal.version(space, version))

    def _fetch(self, edit_ids: Iterable[str]) -> list[EditRecord]:
        """Committed edits, which never change any more, so they are kept."""
        ids = list(edit_ids)
        found: dict[str, EditRecord | None] = {one: self._records.get(one) for one in ids}
        missing = [edit_id for edit_id, record in found.items() if record is None]
        if missing:
            for fresh in self._recorded(missing):
                found[fresh.id] = fresh
                self._records.put(fresh.id, fresh)
        return [record for edit_id in ids if (record := found[edit_id]) is not None]

    def _recorded(self, edit_ids: Sequence[str]) -> list[EditRecord]:
        try:
            return self.journal.records(edit_ids)
        except NotFound as error:
            raise StorageError(f"The journal has lost the edit {error.name}; restore it from a backup.") from error

    def _require_artefacts(self, records: Iterable[EditRecord]) -> None:
        for record in records:
            self.store.read(record.artefact or "")

    def _check_still_valid(
        self, records: Sequence[EditRecord], superseded: set[str], base: Version, head: Version
    ) -> None:
        """Nobody edited the same facts between the versions, and what is superseded is still live."""
        arrived = self._fetch(edit_id for edit_id in head.live if edit_id not in base.live)
        rival = {record.key_hash for record in arrived} & {record.key_hash for record in records}
        if rival or not superseded <= set(head.live):
            raise Conflict(
                f"Somebody edited the same fact in {head.space!r} meanwhile (its head is version "
                f"{head.version} now); nothing was written. Look at the fact and call again."
            )

    def _check_live(self, head: Version, record: EditRecord) -> None:
        if record.id in head.live:
            return
        for ancestor in self.state(head.space).heads[:-1]:
            if record.id in ancestor.live:
                raise InvalidRequest(f"The edit {record.id} is live in {ancestor.space!r}: undo it there.")
        if record.outcome is None or record.outcome.outcome != "committed":
            raise InvalidRequest(f"The edit {record.id} was never committed, so there is nothing to undo.")
        raise InvalidRequest(
            f"The edit {record.id} is not live in {head.space!r}: it was undone or superseded, or belongs "
            "elsewhere. List the space's edits to see what is."
        )


class Recent(Generic[K, V]):
    """A thread-safe mapping that forgets what was used longest ago."""

    def __init__(self, limit: int) -> None:
        self._limit, self._lock = limit, RLock()
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        with self._lock:
            return key in self._kept

    def get(self, key: K) -> V | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            if len(self._kept) > self._limit:
                self._kept.popitem(last=False)


def _until_written(attempt: Callable[[bool], T]) -> T:
    """Run `attempt(False)` and, whenever somebody else moved the head meanwhile, `attempt(True)`.

    It ends: each time that it fails, somebody else's version was written.
    """
    again = False
    while True:
        try:
            return attempt(again)
        except HeadMoved:
            again = True


def _put_back(live: list[str], before: Sequence[str], ids: Iterable[str]) -> list[str]:
    """`live` with `ids` where they were in `before`: each behind its nearest predecessor still there."""
    wanted, out = set(ids) - set(live), list(live)
    place = 0
    for edit_id in before:
        if edit_id in wanted:
            out.insert(place, edit_id)
            place += 1
        elif edit_id in out:
            place = out.index(edit_id) + 1
    return out


def _target(record: EditRecord) -> tuple[str, str]:
    return str(record.kind), normalise(str(record.request.get("target_new", "")))
