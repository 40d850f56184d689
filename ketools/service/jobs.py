"""Background jobs as their owners see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ketools.core.principals import Principal, Scope
from ketools.core.results import JobView
from ketools.journal import ROOT
from ketools.service.backend import Backend
from ketools.service.quotas import Quotas
from ketools.service.summaries import summary_of
from ketools.service.visibility import Visibility, for_caller


@dataclass(frozen=True)
class Jobs:
    """Submit, watch and cancel jobs."""

    backend: Backend
    quotas: Quotas

    def queue(self, who: Principal, kind: str, space: str, arguments: Mapping[str, Any]) -> str:
        """Queue a job; its id. Raises `LimitReached` when the principal has as many as it may."""
        self.quotas.require_job(who)
        return self.backend.runner.submit(kind, space, arguments)

    def submit(self, who: Principal, kind: str, space: str, arguments: Mapping[str, Any], wait: bool) -> JobView:
        """Queue a job, and wait for its end if told to."""
        job_id = self.queue(who, kind, space, arguments)
        if wait:
            self.backend.runner.wait(job_id)
        return self.status(who, job_id)

    def wait(self, job_id: str, timeout: float | None = None) -> None:
        """Block until a job of this process has ended."""
        self.backend.runner.wait(job_id, timeout)

    @for_caller
    def status(self, who: Principal, job_id: str, cancel: bool = False) -> JobView:
        """How a job stands; `cancel` stops it at its next step."""
        journal, runner = self.backend.journal, self.backend.runner
        who.require_scope(Scope.READ)
        job = Visibility(journal, who).job(job_id)
        who.require(Scope.EDIT if cancel else Scope.READ, job.space or ROOT)
        if cancel:
            runner.cancel(job_id)
            job = journal.job(job_id)
        state = "running" if job.state == "cancelling" else job.state
        stage = runner.stage(job_id) if state == "running" else None
        return JobView(
            job_id=job_id,
            kind=job.kind,
            space=job.space or ROOT,
            state=state,
            progress=stage[0] if stage else job.progress,
            message=stage[1] if stage else job.message,
            summary=summary_of(job.kind, job.result or {}) if state == "done" else "",
            result=dict(job.result or {}),
        )
