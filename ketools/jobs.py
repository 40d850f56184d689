"""Long work in the background: one worker, journalled states, cancellable between steps."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ketools.errors import Cancelled, KetoolsError
from ketools.journal import JobState, Journal

Progress = Callable[[int, int, str], None]
Work = Callable[[Progress], dict[str, Any]]

log = logging.getLogger(__name__)


def quiet(done: int, total: int, message: str) -> None:
    """Report progress to nobody."""


@dataclass
class Jobs:
    """Runs work one after another in a thread and writes every change of state to the journal."""

    journal: Journal
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ketools-job"))
    _cancel: dict[str, threading.Event] = field(default_factory=dict)
    _stage: dict[str, tuple[float, str]] = field(default_factory=dict)
    _futures: dict[str, Future[None]] = field(default_factory=dict)

    def submit(self, kind: str, space: str, work: Work) -> str:
        """Queue work and return its job id."""
        job_id = f"j_{secrets.token_hex(6)}"
        self.journal.job_event(job_id, space=space, kind=kind, state="queued")
        self._cancel[job_id] = threading.Event()
        future = self._pool.submit(self._run, job_id, kind, space, work)
        self._futures[job_id] = future
        future.add_done_callback(lambda _: self._futures.pop(job_id, None))
        return job_id

    def stage(self, job_id: str) -> tuple[float, str] | None:
        """How far a running job is (0 to 1) and what it does; None if it is not running here."""
        return self._stage.get(job_id)

    def _run(self, job_id: str, kind: str, space: str, work: Work) -> None:
        stop = self._cancel[job_id]

        def progress(done: int, total: int, message: str) -> None:
            if stop.is_set():
                raise Cancelled("The job was cancelled; nothing of the step in progress was committed.")
            self._stage[job_id] = (done / max(total, 1), message)

        def event(state: JobState, amount: float, message: str = "", result: dict[str, Any] | None = None) -> None:
            self.journal.job_event(
                job_id,
                space=space,
                kind=kind,
                state=state,
                progress=amount,
                message=message,
                result=result or {},
            )

        try:
            progress(0, 1, "")
            event("running", 0.0)
            result = work(progress)
            event("done", 1.0, result=result)
        except Cancelled as error:
            event("cancelled", 0.0, str(error))
        except KetoolsError as error:
            event("failed", 0.0, str(error))
        except Exception:
            log.exception("job %s failed", job_id)
            event("failed", 0.0, "An internal error; the server's log has the details.")
        finally:
            self._cancel.pop(job_id, None)
            self._stage.pop(job_id, None)

    def wait(self, job_id: str, timeout: float | None = None) -> None:
        """Block until the job has ended."""
        future = self._futures.get(job_id)
        if future is not None:
            future.result(timeout)

    def wait_all(self, timeout: float | None = None) -> None:
        """Block until every queued job has ended."""
        for job_id in list(self._futures):
            self.wait(job_id, timeout)

    def cancel(self, job_id: str) -> bool:
        """Ask a job to stop at its next step; False if it has ended already."""
        stop = self._cancel.get(job_id)
        if stop is not None:
            stop.set()
        return stop is not None

    def close(self) -> None:
        """Stop what runs at its next step and wait for it."""
        for stop in list(self._cancel.values()):
            stop.set()
        self._pool.shutdown(wait=True)
