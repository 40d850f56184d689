"""Long work in the background: one worker, journalled states, cancellable between steps.

A job's arguments are in the journal, so when a server dies another one (or the same, started again) finishes its
jobs. Each job belongs to one server at a time, and a server that lost one stops it at its next step.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ketools.core.errors import Cancelled, Conflict, KetoolsError, NotFound, StorageUnavailable
from ketools.core.jobs import Handler
from ketools.core.progress import Progress
from ketools.journal import Job, JobState, Journal
from ketools.service.rounds import Rounds

PERIOD_S = 5.0
RETRY_S = 2.0

log = logging.getLogger(__name__)


def _line_of(job: Job) -> str:
    """Whose job it is, as far as its space tells: `session/bob/1` and `session/bob/2` wait in one line."""
    return "/".join((job.space or "").split("/")[:2])


@dataclass
class JobRunner:
    """Runs jobs one after another in a thread and writes every change of state to the journal.

    `handlers`: what does a job, by its kind. `chores`: what else a long-lived server does every few seconds.
    """

    journal: Journal
    handlers: Mapping[str, Handler]
    chores: Sequence[Callable[[], None]] = ()
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="ketools-job"))
    _cancel: dict[str, threading.Event] = field(default_factory=dict)
    _stage: dict[str, tuple[float, str]] = field(default_factory=dict)
    _futures: dict[str, Future[None]] = field(default_factory=dict)
    _queues: Rounds[Job] = field(default_factory=Rounds)
    _unfinished: dict[str, Job] = field(default_factory=dict)
    _closing: threading.Event = field(default_factory=threading.Event)
    _keeper: threading.Thread | None = None

    def submit(self, kind: str, space: str, arguments: Mapping[str, Any]) -> str:
        """Queue a job and return its id. Raises NotFound for a kind without a handler."""
        if kind not in self.handlers:
            raise NotFound("kind of job", kind, self.handlers)
        job_id = self.journal.new_job_id()
        self._queue(self.journal.job_event(job_id, space=space, kind=kind, state="queued", arguments=arguments))
        return job_id

    def _queue(self, job: Job) -> None:
        self._cancel[job.id] = threading.Event()
        self._unfinished[job.id] = job
        future = self._futures[job.id] = Future()
        future.add_done_callback(lambda _: self._futures.pop(job.id, None))
        self._queues.put(_line_of(job), job)
        self._pool.submit(self._run_next)

    def unfinished(self) -> list[Job]:
        """The jobs of this server that have not ended."""
        return list(self._unfinished.values())

    def stage(self, job_id: str) -> tuple[float, str] | None:
        """How far a running job is (0 to 1) and what it does; None if it is not running here."""
        return self._stage.get(job_id)

    # --- running ---

    def _run_next(self) -> None:
        job = self._queues.get()
        future = self._futures[job.id]
        try:
            self._run(job)
        finally:
            self._unfinished.pop(job.id, None)
            future.set_result(None)

    def _run(self, job: Job) -> None:
        try:
            self._progress(job)(0, 1, "")
            if self._event(job, "running", 0.0):
                self._event(job, "done", 1.0, result=self._work(job))
        except (Cancelled, StorageUnavailable) as error:
            self._stopped(job, error.told())
        except KetoolsError as error:
            self._event(job, "failed", 0.0, error.told())
        except Exception:
            log.exception("job %s failed", job.id)
            self._event(job, "failed", 0.0, "An internal error; the server's log has the details.")
        finally:
            self._cancel.pop(job.id, None)
            self._stage.pop(job.id, None)

    def _work(self, job: Job) -> dict[str, Any]:
        handler, progress = self.handlers[job.kind], self._progress(job)
        result: dict[str, Any] = self._while_away(lambda: handler(job.space or "", job.arguments or {}, progress))
        return result

    def _progress(self, job: Job) -> Progress:
        stop = self._cancel[job.id]

        def progress(done: int, total: int, message: str) -> None:
            if stop.is_set():
                raise Cancelled("The job was cancelled; nothing of the step in progress was committed.")
            self._stage[job.id] = (done / max(total, 1), message)

        return progress

    def _stopped(self, job: Job, message: str) -> None:
        """A server that is being stopped leaves its jobs to the others; any other stop is somebody's wish."""
        if self._closing.is_set() and self._keeper is not None:
            self._event(job, "queued", 0.0, "left by a server that was stopped")
        else:
            self._event(job, "cancelled", 0.0, message)

    def _event(
        self, job: Job, state: JobState, progress: float, message: str = "", result: dict[str, Any] | None = None
    ) -> bool:
        """Write a change of state. False when the job has another server by now, whose it is to write."""
        values: dict[str, Any] = {"progress": progress, "message": message, "result": result or {}}
        try:
            self._while_away(
                lambda: self.journal.job_event(job.id, space=job.space, kind=job.kind, state=state, **values)
            )
        except (Conflict, StorageUnavailable) as error:
            log.warning("job %s is left to other servers: %s", job.id, error)
            return False
        return True

    def _while_away(self, work: Callable[[], Any]) -> Any:
        """Repeat while the journal is away, until this server is stopped."""
        while True:
            try:
                return work()
            except StorageUnavailable as error:
                log.warning("%s", error)
                if self._closing.wait(RETRY_S):
                    raise

    # --- with other servers ---

    def take_part(self, period_s: float = PERIOD_S) -> None:
        """From now on finish what dead servers left, and stop what is cancelled elsewhere. For long-lived servers."""
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep, args=(period_s,), name="ketools-jobs", daemon=True)
            self._keeper.start()

    def _keep(self, period_s: float) -> None:
        while True:
            try:
                self._look_around()
                for chore in self.chores:
                    chore()
            except StorageUnavailable as error:
                log.warning("%s", error)
            except Exception:
                log.exception("looking after jobs and spaces failed")
            if self._closing.wait(period_s):
                return

    def _look_around(self) -> None:
        self.journal.recover()
        for job in self.journal.take_over(self.handlers):
            log.info("took over job %s", job.id)
            self._queue(job)
        running = list(self._cancel.items())
        own = {job.id: job.state for job in self.journal.own_jobs()} if running else {}
        for job_id, stop in running:
            if own.get(job_id, "cancelling") == "cancelling":
                stop.set()  # cancelled by a caller of another server, or no longer this server's

    def wait(self, job_id: str, timeout: float | None = None) -> None:
        """Block until a job of this server has ended."""
        future = self._futures.get(job_id)
        if future is not None:
            future.result(timeout)

    def cancel(self, job_id: str) -> bool:
        """Ask a job to stop at its next step, on whichever server it runs; False if it has ended already."""
        stop = self._cancel.get(job_id)
        if stop is not None:
            stop.set()
            return True
        try:
            self.journal.cancel_job(job_id)
        except Conflict:
            return False
        return True

    def close(self) -> None:
        """Stop what runs at its next step and wait for it."""
        self._closing.set()
        for stop in list(self._cancel.values()):
            stop.set()
        self._pool.shutdown(wait=True)
        if self._keeper is not None:
            self._keeper.join()
