"""The rows of the journal, as values; and the rules for names and ids."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal

from ketools.core.evidence import Evidence
from ketools.core.principals import Provenance
from ketools.core.requests import Kind

KEY_RULE = 2
"""How `EditRequest.key` is made now; 1 was `EditRequest.first_key`."""

Ending = Literal["committed", "refused", "cancelled", "failed"]
JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
FINAL: frozenset[str] = frozenset({"done", "failed", "cancelled"})

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def name_of(space_id: str) -> str:
    """The name in a space's id (`name#generation`)."""
    return space_id.partition("#")[0]


def _base32(number: int, digits: int) -> str:
    return "".join(_ALPHABET[(number >> 5 * place) & 31] for place in reversed(range(digits)))


class Ids:
    """Makes ids such as `e_01kbn4m7z0q9x2f`: 9 digits of milliseconds, 6 random ones (30 bits).

    Ids of one maker sort as they were made; those of two makers sort by time.
    """

    def __init__(self) -> None:
        self._last, self._lock = 0, Lock()

    def new(self, prefix: str) -> str:
        """A fresh id, greater than every earlier one of this maker."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1_000_000)
            return f"{prefix}_{_base32(self._last, 9)}{_base32(secrets.randbits(30), 6)}"


@dataclass(frozen=True, slots=True)
class Space:
    """A named line of versions. `id`: its name and generation (a dropped space's name may be used again).

    `chain_ids`: the ids from the root down to this space itself.
    """

    id: str
    name: str
    parent: str | None
    owner: str | None
    created_at: float
    chain_ids: tuple[str, ...]

    @property
    def chain(self) -> tuple[str, ...]:
        """The names from the root down to this space itself."""
        return tuple(name_of(space_id) for space_id in self.chain_ids)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an edit ended. `supersedes`: the edits that its commit took out of the space's live list.
    `consolidates`: the note whose fact it has taken into the weights.

    `timings`: milliseconds per part. `created_at`: seconds since 1970, set when written.
    """

    edit_id: str
    outcome: Ending
    reason: str = ""
    evidence: Evidence | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    supersedes: tuple[str, ...] = ()
    created_at: float = 0.0
    consolidates: str | None = None


@dataclass(frozen=True, slots=True)
class EditRecord:
    """One edit as journalled. `request` is redacted for erasures; `outcome` is None while pending.

    `key_hash` identifies the fact (see `Journal.key_hash`) by the rule `key_rule`: 1 only for erasures that were
    written before there was another, since their request is gone. `artefact`: the content in the store,
    `base_version` the version of the space that the edit was computed on, `space_id` its generation. `model`: the
    hash of the model that it was computed for, empty when it needs none, None for an edit of before this was recorded;
    `form`: the kind of its artefact (see `ketools.layers.kinds`), None likewise. `client`: the program that asked for
    it; `why`: the reason that was given. `prepared`: the name of what its method had trained ahead (see
    `ketools.methods.prepared`), None for a method that prepares nothing.
    """

    id: str
    space: str
    created_at: float
    principal: str
    kind: Kind
    method: str
    key_hash: str
    request: Mapping[str, Any]
    artefact: str | None
    base_version: int
    outcome: Outcome | None = None
    space_id: str = ""
    key_rule: int = KEY_RULE
    model: str | None = None
    form: str | None = None
    client: str = ""
    why: str = ""
    prepared: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who approved or rejected a proposal, and when."""

    proposal_id: str
    approved: bool
    by: Provenance
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that waits for a person's approval, or was decided about.

    `change`: what to do, as `ketools.service.changes` reads it; `because`: why it needs an approval.
    """

    id: str
    space: str
    created_at: float
    by: Provenance
    change: Mapping[str, Any]
    because: str
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Rendition:
    """An edit computed anew for a model: the kind of its artefact, its content, and what verification measured."""

    edit_id: str
    model: str
    form: str
    artefact: str
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable snapshot of a space: the ids of its live edits, in the order in which they compose.

    `sequence` counts the versions of the whole journal. `by`: who wrote it; None where that was not recorded.
    """

    space: str
    version: int
    live: tuple[str, ...]
    reason: str
    edit_id: str | None
    created_at: float
    sequence: int
    by: Provenance | None = None


@dataclass(frozen=True, slots=True)
class SpaceState:
    """A space at one moment. `heads`: the newest versions of its ancestors, root first, and of itself.

    `sequence`: the journal's newest version then, of any space; while it stays, this holds. `renditions`: the number
    of the journal's newest rendition.
    """

    space: Space
    heads: tuple[Version, ...]
    sequence: int
    renditions: int = 0

    @property
    def head(self) -> Version:
        """The space's own newest version."""
        return self.heads[-1]


@dataclass(frozen=True, slots=True)
class Job:
    """The latest state of a job, from its events. `progress` is a share between 0 and 1.

    `arguments`: what it was begun with; None for a job that cannot be run again. `writer`: who runs it.
    """

    id: str
    space: str | None
    kind: str
    state: JobState
    progress: float
    message: str
    result: Mapping[str, Any] | None
    created_at: float
    updated_at: float
    arguments: Mapping[str, Any] | None = None
    writer: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """Some edits, newest first; pass `next` as `after` for those that follow (None: no more)."""

    edits: tuple[EditRecord, ...]
    next: str | None
