"""What the parts of a service share. Nothing here needs the model until `runtime` is called."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ketools.core.errors import StorageError
from ketools.core.progress import Progress, quiet
from ketools.journal import ROOT, Journal
from ketools.methods.configuration import Configurations
from ketools.service.in_place import require_server
from ketools.service.policy import EditPolicy
from ketools.service.runner import JobRunner
from ketools.service.settings import Settings
from ketools.service.starting import RuntimeStarter
from ketools.spaces.spaces import Spaces

if TYPE_CHECKING:
    from ketools.service.runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Backend:
    """The journal with its spaces and jobs, and the means to open what serves the model."""

    settings: Settings
    journal: Journal
    spaces: Spaces
    configurations: Configurations
    runner: JobRunner
    starter: RuntimeStarter
    policy: EditPolicy
    end_webhook: Callable[[], None]

    def runtime(self, progress: Progress = quiet) -> Runtime:
        """The engine and what stands on it, opened by the first call. Raises what opening it raises."""
        return self.starter.get(progress)

    def require_follower(self, space: str) -> None:
        """Raise `EngineUnavailable` where an engine elsewhere has to follow the space's head and does not answer."""
        if self.settings.in_place and space == ROOT and not self.starter.started:
            require_server(self.settings.home)

    def head_moved(self, space: str) -> str:
        """Have an engine that is open ready for the space's new head; one that opens later reads it then.

        The head stands. What keeps it from being served is told, not raised; an empty string when nothing does.
        """
        runtime = self.starter.opened
        try:
            if runtime is not None:
                runtime.serve(space)
        except StorageError as error:
            log.warning("%s", error)
            return f"It is done, yet {space} cannot be served: {error.told()}"
        return ""

    def close(self) -> None:
        """Stop background work at its next step and release what is open."""
        self.runner.close()
        self.starter.close()
        self.end_webhook()
        self.journal.close()
