"""JobRunner belong to one server at a time, survive it, and end once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any

import pytest

from ketools.core.errors import Conflict, KetoolsError, NotFound
from ketools.core.progress import Progress
from ketools.journal import Job, Journal
from ketools.service.runner import JobRunner

PATIENCE_S = 0.3
SERVER = """
import sys, time
from pathlib import Path
from ketools.service.runner import JobRunner
from ketools.journal import Journal

def work(space, arguments, progress):
    while True:
        progress(1, 2, "halfway")
        time.sleep(0.05)

jobs = JobRunner(Journal(sys.argv[1], secret_path=Path(sys.argv[2])), {"count": work})
print(jobs.submit("count", "global", {"to": 3}), flush=True)
print(jobs.submit("count", "global", {"to": 4}), flush=True)
time.sleep(600)
"""


def until(found: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of a question asked again and again."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return value


class Counter:
    """A job that counts to `to` when it may, and remembers who ran it."""

    def __init__(self) -> None:
        self.ran: list[int] = []
        self.go = threading.Event()

    def __call__(self, space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        self.ran.append(arguments["to"])
        while not self.go.wait(0.01):
            progress(1, 2, "waiting")
        return {"counted": arguments["to"]}


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def server(place: Any) -> Iterator[Callable[..., JobRunner]]:
    """Opens servers on one journal; `counter` does their work."""
    opened: list[JobRunner] = []

    def start(counter: Counter, take_part: bool = True) -> JobRunner:
        jobs = JobRunner(place.open(patience_s=PATIENCE_S), {"count": counter})
        if take_part:
            jobs.take_part(period_s=0.05)
        opened.append(jobs)
        return jobs

    yield start
    for jobs in opened:
        jobs.close()
        jobs.journal.close()


Server = Callable[..., JobRunner]


def ended(journal: Journal, job_id: str) -> Job:
    job: Job = until(lambda: (job := journal.job(job_id)).state in ("done", "failed", "cancelled") and job)
    return job


def test_a_job_runs_with_its_arguments_and_its_result_is_kept(server: Server, counter: Counter) -> None:
    jobs = server(counter)
    job_id = jobs.submit("count", "global", {"to": 3})
    until(lambda: jobs.stage(job_id) == (0.5, "waiting"))
    counter.go.set()
    jobs.wait(job_id)
    job = jobs.journal.job(job_id)
    assert (job.state, job.result, job.arguments) == ("done", {"counted": 3}, {"to": 3})


def test_a_kind_that_nobody_can_do_is_refused(server: Server, counter: Counter) -> None:
    with pytest.raises(NotFound, match="count"):
        server(counter).submit("cuont", "global", {})


def test_the_jobs_of_a_killed_server_are_finished_once_by_one_of_the_others(
    place: Any, server: Server, counter: Counter
) -> None:
    others = [server(counter), server(counter)]
    dying = subprocess.Popen(
        [sys.executable, "-c", SERVER, place.where, str(place.secret)], stdout=subprocess.PIPE, text=True
    )
    assert dying.stdout is not None
    with closing(dying.stdout):
        ids = [dying.stdout.readline().strip() for _ in range(2)]
        until(lambda: others[0].journal.job(ids[0]).state == "running")
        time.sleep(3 * PATIENCE_S)
        assert counter.ran == []  # nobody touches what a living server does
        dying.kill()
        dying.wait()
    counter.go.set()
    assert [ended(others[0].journal, job_id).result for job_id in ids] == [{"counted": 3}, {"counted": 4}]
    assert sorted(counter.ran) == [3, 4]


def test_a_server_that_is_stopped_leaves_its_jobs_to_the_others(place: Any, counter: Counter) -> None:
    journal = place.open()
    leaving = JobRunner(journal, {"count": counter})
    leaving.take_part(period_s=0.05)
    job_id = leaving.submit("count", "global", {"to": 5})
    until(lambda: counter.ran)
    leaving.close()
    assert journal.job(job_id).state == "queued"
    journal.close()
    counter.go.set()
    staying = JobRunner(place.open(patience_s=0), {"count": counter})
    staying.take_part(period_s=0.05)
    assert ended(staying.journal, job_id).result == {"counted": 5}
    assert counter.ran == [5, 5]
    staying.close()
    staying.journal.close()


def test_a_command_that_ends_cancels_its_jobs(place: Any, counter: Counter) -> None:
    journal = place.open()
    jobs = JobRunner(journal, {"count": counter})
    job_id = jobs.submit("count", "global", {"to": 5})
    jobs.close()
    assert journal.job(job_id).state == "cancelled"
    journal.close()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_job_is_cancelled_from_another_server(server: Server, counter: Counter) -> None:
    runner, asker = server(counter), server(counter)
    job_id = runner.submit("count", "global", {"to": 3})
    until(lambda: runner.stage(job_id))
    assert asker.cancel(job_id)
    assert ended(asker.journal, job_id).state == "cancelled"
    assert not asker.cancel(job_id)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_server_that_was_thought_dead_stops_what_another_one_took_over(
    place: Any, server: Server, counter: Counter
) -> None:
    mine, theirs = Counter(), counter
    lost = server(mine)
    job_id = lost.submit("count", "global", {"to": 3})
    until(lambda: mine.ran)
    lost.journal._writers.close()  # cut off: its session has ended, it does not know
    taker = server(theirs)
    until(lambda: theirs.ran)
    until(lambda: lost.stage(job_id) is None)
    with pytest.raises(Conflict, match="run by another server"):
        lost.journal.job_event(job_id, kind="count", state="done")
    theirs.go.set()
    assert ended(taker.journal, job_id).result == {"counted": 3}


def test_a_job_that_fails_says_why(place: Any) -> None:
    def fail(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        raise (KetoolsError if arguments["told"] else ValueError)("the tide was high")

    jobs = JobRunner(place.open(), {"fail": fail})
    told, untold = (jobs.submit("fail", "global", {"told": told}) for told in (True, False))
    for job_id in (told, untold):
        jobs.wait(job_id)
    assert jobs.journal.job(told).message == "the tide was high"
    assert jobs.journal.job(untold).message == "An internal error; the server's log has the details."
    jobs.close()
    jobs.journal.close()


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_a_job_outlives_an_outage_of_the_database(postgresql: Any, server: Server, counter: Counter) -> None:
    jobs = server(counter)
    job_id = jobs.submit("count", "global", {"to": 3})
    until(lambda: counter.ran)
    postgresql.stop("immediate")
    try:
        counter.go.set()
        time.sleep(0.3)
    finally:
        postgresql.start()
    assert ended(jobs.journal, job_id).result == {"counted": 3}
    assert counter.ran == [3]
