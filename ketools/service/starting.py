"""Opens the part of a service that needs the model: in the background, once, when a call needs it or ahead of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from typing import TYPE_CHECKING

from ketools.core.errors import EngineUnavailable
from ketools.core.progress import Progress, quiet

if TYPE_CHECKING:
    from ketools.service.runtime import Runtime

POLL_S = 0.1
log = logging.getLogger(__name__)


class RuntimeStarter:
    """Thread-safe. `open_runtime`: opens a runtime, which may take long; an attempt that failed is made again by the
    next call. `then`: what to do once it is open.
    """

    def __init__(self, open_runtime: Callable[[], Runtime], then: Callable[[], None] = lambda: None) -> None:
        self._open, self.then = open_runtime, then
        self._lock = threading.Lock()
        self._opening: Future[Runtime] | None = None
        self._closed = False

    @property
    def opened(self) -> Runtime | None:
        """The runtime, if it is open by now."""
        future = self._opening
        return future.result() if future is not None and future.done() and future.exception() is None else None

    @property
    def started(self) -> bool:
        """Whether the runtime is open or being opened."""
        return self._opening is not None

    def start(self) -> Future[Runtime]:
        """Begin to open the runtime unless that was done before; returns at once.

        Raises `EngineUnavailable` when it has been closed.
        """
        with self._lock:
            if self._closed:
                raise EngineUnavailable("This service is closed; open it again.")
            if self._opening is None:
                self._opening = Future()
                work = threading.Thread(target=self._work, args=(self._opening,), name="ketools-start", daemon=True)
                work.start()
            return self._opening

    def get(self, progress: Progress = quiet) -> Runtime:
        """The runtime, waited for; raises what opening it raised, and what `progress` raises."""
        future = self.start()
        waited = 0
        while True:
            with suppress(NotYet):
                return future.result(POLL_S)
            waited += 1
            progress(waited, waited + 100, "loading the model")

    def close(self) -> None:
        """Close the runtime; one that is still being opened is closed as soon as it is open."""
        with self._lock:
            self._closed = True
            opened = self.opened
        if opened is not None:
            opened.close()

    def _work(self, future: Future[Runtime]) -> None:
        try:
            runtime = self._open()
        except BaseException as error:
            with self._lock:
                self._opening = None
            future.set_exception(error)
            log.warning("the engine did not start: %s", error)
            return
        with self._lock:
            future.set_result(runtime)
            late = self._closed
        if late:
            runtime.close()
        else:
            self.then()
