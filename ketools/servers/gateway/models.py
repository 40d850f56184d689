"""The names that callers use for models, and the layers that stand behind them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from ketools.core.errors import Forbidden, InvalidRequest
from ketools.core.principals import Principal, Scope
from ketools.core.space_names import check_space_name
from ketools.journal import ROOT
from ketools.layers.composition import BASE, EditLayer
from ketools.servers.gateway.errors import unknown_model

if TYPE_CHECKING:
    from ketools.service.service import EditService

KEPT = 1024
"""How many spaces' layers are at hand without asking the journal for more than its change counter."""
READERS = 16
"""How many threads may read the journal and the artefact store at once."""


@dataclass
class Models:
    """`BASE` is the untouched model, `BASE@space` the model as it is in a space."""

    service: EditService
    base: str
    _heads: OrderedDict[str, tuple[int, EditLayer]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _readers: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(READERS))

    async def listed(self, who: Principal) -> list[dict[str, object]]:
        """OpenAI's model objects for `BASE` and the spaces that the principal may read; never an adapter."""
        spaces = await anyio.to_thread.run_sync(self.service.journal.spaces, limiter=self._readers)
        shown = [space for space in spaces if space.name == ROOT or who.owns(space.name)]
        begun = min((int(space.created_at) for space in shown), default=0)
        cards = [(self.base, begun), *((f"{self.base}@{space.name}", int(space.created_at)) for space in shown)]
        return [{"id": name, "object": "model", "created": at, "owned_by": "ketools"} for name, at in cards]

    async def layer(self, who: Principal, name: str) -> EditLayer:
        """The layer behind a name, as it is now. Raises `ApiError` 404, the same for unknown and foreign spaces.

        A space that nobody has changed since it was last asked for costs one query for the change counter, or a
        thread where the journal is a server's and a query may wait.
        """
        space = self._space(name)
        if space is None:
            return BASE
        try:
            who.require(Scope.READ, space)
        except Forbidden:
            raise unknown_model(name) from None
        known = self._known(space) if self._is_local else None
        if known is not None:
            return known
        try:
            return await anyio.to_thread.run_sync(self._read, who, space, limiter=self._readers)
        except InvalidRequest:
            raise unknown_model(name) from None

    def _space(self, name: str) -> str | None:
        """The space in a name; None for the untouched model."""
        if name == self.base:
            return None
        base, _, space = name.partition(f"{self.base}@")
        try:
            return check_space_name("" if base else space)
        except InvalidRequest:
            raise unknown_model(name) from None

    @cached_property
    def _is_local(self) -> bool:
        """Whether the journal is a file: its change counter is then read within microseconds."""
        return "://" not in str(self.service.settings.journal_place[0])

    def _known(self, space: str) -> EditLayer | None:
        """The layer, if nothing was written since it was read."""
        return self._kept(space, self.service.journal.change_counter())

    def _kept(self, space: str, counter: int) -> EditLayer | None:
        with self._lock:
            at, layer = self._heads.get(space, (-1, BASE))
            if at != counter:
                return None
            self._heads.move_to_end(space)
            return layer

    def _read(self, who: Principal, space: str) -> EditLayer:
        """The layer from the journal. The counter is read first: what comes in between is read again next time."""
        counter = self.service.journal.change_counter()
        if (kept := self._kept(space, counter)) is not None:
            return kept
        layer, _ = self.service.asking.layer(who, space)
        with self._lock:
            self._heads[space] = (counter, layer)
            self._heads.move_to_end(space)
            while len(self._heads) > KEPT:
                self._heads.popitem(last=False)
        return layer
