"""The service: everything a tool can do for a principal on one served model, by subject.

Each subject checks who may do what where, and turns what the pipeline, the spaces and the journal say into results.
None holds editing mathematics or a protocol. Requests are checked before an engine is opened.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ketools.core.errors import EngineUnavailable
from ketools.core.principals import Principal, Scope
from ketools.core.results import Result
from ketools.journal import Journal
from ketools.journal.audit import Event
from ketools.models.directory import model_name
from ketools.service.approvals import Approvals
from ketools.service.asking import Asking
from ketools.service.backend import Backend
from ketools.service.edits import Edits
from ketools.service.evaluation import Evaluation
from ketools.service.jobs import Jobs
from ketools.service.outcomes import jobs_of, version_of
from ketools.service.quotas import Quotas
from ketools.service.settings import Settings
from ketools.service.spaces import SpaceAccess

if TYPE_CHECKING:
    from ketools.service.runtime import Runtime


@dataclass(frozen=True)
class EditService:
    """One served model with its journal, spaces and editor. Thread-safe; methods block."""

    backend: Backend

    @cached_property
    def spaces(self) -> SpaceAccess:
        """Spaces: list, fork, restore, drop, compare."""
        return SpaceAccess(self.backend)

    @cached_property
    def jobs(self) -> Jobs:
        """Background jobs."""
        return Jobs(self.backend, self.quotas)

    @cached_property
    def quotas(self) -> Quotas:
        """What a principal may have going on."""
        return Quotas(self.backend)

    @cached_property
    def edits(self) -> Edits:
        """Edits: make, undo, list, show, consolidate; and the methods that make them."""
        return Edits(self.backend, self.spaces, self.jobs)

    @cached_property
    def approvals(self) -> Approvals:
        """What agents asked for and a person decides about."""
        return Approvals(self.backend, self.edits, self.spaces)

    def audit(self, who: Principal, space: str | None = None, since: float = 0.0) -> list[Event]:
        """Who did what, when, through which client and why, in the order of time; needs the scope `admin`.

        Raises `Forbidden`, and `NotFound` for an unknown space.
        """
        who.require_scope(Scope.ADMIN)
        if space is not None:
            self.journal.space(space)
        return self.journal.audit.events(space, since)

    @cached_property
    def asking(self) -> Asking:
        """Answers of the model as it is in a space."""
        return Asking(self.backend)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Measures: edits and spaces verified again, methods compared, facts located."""
        return Evaluation(self.backend, self.spaces, self.jobs)

    def take_back(self, who: Principal, result: Result) -> None:
        """Undo what a call did whose caller had cancelled before it could be told: cancelled means not committed."""
        for job_id in jobs_of(result):
            self.backend.runner.cancel(job_id)
        made = version_of(result)
        if made is not None:
            self.backend.spaces.revert(*made, by=who.by("its caller had cancelled"))
            self.backend.head_moved(made[0])

    @property
    def model_name(self) -> str:
        """The base model's name at a gateway, where a space's is `NAME@space`; told without opening the engine.

        Servers that are not ketools' own may give it another name, which is known once the engine is open.
        """
        opened = self.backend.starter.opened
        return opened.engine.model_name if opened is not None else model_name(self.settings.model)

    @property
    def settings(self) -> Settings:
        """How the service is set up."""
        return self.backend.settings

    @property
    def journal(self) -> Journal:
        """The record of everything."""
        return self.backend.journal

    @property
    def runtime(self) -> Runtime:
        """The engine and what stands on it, opened by the first call. Raises what opening it raises."""
        return self.backend.runtime()

    def start(self) -> None:
        """Begin to open the engine in the background; nothing happens once the service is closed."""
        with suppress(EngineUnavailable):
            self.backend.starter.start()

    def take_part(self) -> None:
        """Finish what dead servers left, and follow other processes, from when the engine is open: for long-lived
        servers.
        """
        self.backend.starter.then = self.backend.runner.take_part

    def close(self) -> None:
        """Stop background work at its next step and release what is open."""
        self.backend.close()
