"""What a principal may know of the journal: edits, jobs and names of its own spaces, and of what everybody sees.

What is somebody else's is answered exactly like what does not exist.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from ketools.core.errors import Forbidden, InvalidRequest, NotFound, some
from ketools.core.principals import Principal, Scope
from ketools.core.space_names import ROOT, parent_of
from ketools.journal import EditRecord, Job, Journal, SpaceState
from ketools.spaces.standing import standing_ids

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def for_caller(
    method: Callable[Concatenate[S, Principal, P], R],
) -> Callable[Concatenate[S, Principal, P], R]:
    """A method of a principal whose `NotFound` names nothing but what that principal may know."""

    @wraps(method)
    def told(self: S, who: Principal, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, who, *args, **kwargs)
        except NotFound as error:
            raise _without_others(error, who) from None

    return told


def _without_others(error: NotFound, who: Principal) -> NotFound:
    seen: dict[str, Callable[[str], Any]] = {
        "space": who.reads,
        "edit": lambda _: who.may(Scope.ADMIN),
        "job": lambda _: who.may(Scope.ADMIN),
        "proposal": lambda _: who.may(Scope.ADMIN),
    }
    return error.among(seen[error.what]) if error.what in seen else error


@dataclass(frozen=True)
class Visibility:
    """The journal as one principal may see it."""

    journal: Journal
    who: Principal

    def edit(self, edit_id: str) -> EditRecord:
        """The edit, if it was begun in a space that the principal reads, or is live in one (a fork).

        Raises NotFound otherwise: for unknown edits, for others', and for those of a dropped space's former owner.
        """
        record = self.journal.edit(edit_id)
        if not (self.who.may(Scope.ADMIN) or self._begun_here(record) or self.places(record)):
            raise NotFound("edit", edit_id)
        return record

    def _begun_here(self, record: EditRecord) -> bool:
        if not self.who.reads(record.space):
            return False
        try:
            return self.journal.space(record.space).id == record.space_id
        except NotFound:
            return False

    def places(self, record: EditRecord) -> list[str]:
        """The spaces that the principal reads in which the edit, or what it was consolidated into, is live."""
        found = self.journal.spaces_with(standing_ids(self.journal, record))
        return [space.name for space in found if self.who.reads(space.name)]

    def live_with(self, record: EditRecord) -> set[str]:
        """The edits that are live in the spaces in which the principal sees this one live."""
        return {edit_id for place in self.places(record) for edit_id in self.journal.head(place).live}

    def place(self, record: EditRecord, space: str | None) -> str:
        """Where to change or measure an edit: the space that is named, else the only one in which it is live.

        Raises InvalidRequest when it is live in several of the principal's spaces: after a fork only the caller
        knows which one is meant.
        """
        if space is not None:
            return space
        places = self.places(record)
        own = [place for place in places if self.who.owns(place)] or places
        if len(own) > 1:
            raise InvalidRequest(
                f"The edit {record.id} is live in {some(own[:5], len(own))}: name the space, e.g. space={own[0]!r}."
            )
        return own[0] if own else record.space

    def job(self, job_id: str) -> Job:
        """The job, if it runs for a space that the principal reads. Raises NotFound otherwise."""
        job = self.journal.job(job_id)
        if not self.who.may(Scope.ADMIN) and not self._runs_here(job):
            raise NotFound("job", job_id)
        return job

    def _runs_here(self, job: Job) -> bool:
        """A space of the same name that was made after the job is another one."""
        if job.space is None or not self.who.reads(job.space):
            return False
        try:
            return self.journal.space(job.space).created_at <= job.created_at
        except NotFound:
            return False

    def require_chain(self, state: SpaceState) -> None:
        """Raise Forbidden for a space that stands on one which the principal may not read."""
        name = state.space.name
        for above in state.space.chain[:-1]:
            if above not in (ROOT, parent_of(name)) and not self.who.reads(above):
                raise Forbidden(f"The space {name!r} stands on one that is not {self.who.name}'s; use another space.")
