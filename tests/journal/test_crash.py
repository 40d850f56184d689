"""Processes die and race: what was acknowledged is there, and nothing by halves."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import Conflict
from ketools.core.requests import EditRequest
from ketools.journal import Journal, Outcome

WRITER = """
import sys
from pathlib import Path
from ketools.core.requests import EditRequest
from ketools.core.errors import Conflict
from ketools.journal import Journal, Outcome

journal = Journal(sys.argv[1], secret_path=Path(sys.argv[2]))
name, count = sys.argv[3], int(sys.argv[4])
job = journal.new_job_id()
journal.job_event(job, kind="write", state="running")
for i in range(count):
    request = EditRequest(subject=f"{name}{i}", prompt=f"The capital of {name}{i} is", target_new="Lyon")
    record = journal.new_record(
        "global", request, principal=name, method="ice", artefact="0" * 64, base_version=0
    )
    journal.begin_edit(record)
    while True:
        head = journal.head("global")
        try:
            live, ending = (*head.live, record.id), [Outcome(record.id, "committed")]
            journal.commit("global", head.version, live, "edit", record.id, ending)
        except Conflict:
            continue
        break
    print(record.id, flush=True)
"""


def start(place: Any, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, place.where, str(place.secret), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_write_at_once_lose_nothing(place: Any) -> None:
    place.open().close()
    writers = [start(place, name, 15) for name in ("a", "b")]
    acknowledged = {line for writer in writers for line in writer.communicate(timeout=300)[0].split()}
    assert [writer.returncode for writer in writers] == [0, 0]
    journal = place.open()
    head = journal.head("global")
    assert set(head.live) == acknowledged
    assert len(head.live) == head.version == 30
    assert [version.version for version in journal.history("global")] == list(range(30, -1, -1))
    journal.close()


def test_kill_9_at_any_moment_leaves_every_acknowledged_edit_and_no_half_edit(place: Any) -> None:
    dice = random.Random(7)
    acknowledged: set[str] = set()
    for round_ in range(4):
        writer = start(place, f"r{round_}", 10_000)
        assert writer.stdout is not None
        wanted = dice.randrange(1, 12)
        told = [writer.stdout.readline().strip() for _ in range(wanted)]
        writer.send_signal(signal.SIGKILL)
        rest, _ = writer.communicate(timeout=60)
        acknowledged |= {line for line in (*told, *rest.splitlines()) if len(line) == 17}
        check_whole(place, acknowledged)


def check_whole(place: Any, acknowledged: set[str]) -> None:
    journal = place.open(patience_s=0)
    live = set(journal.head("global").live)
    assert acknowledged <= live
    assert len(live - acknowledged) <= 4  # committed, but killed before it could say so
    left = [edit.id for edit in journal.pending()]
    assert not live & set(left)
    closed: list[str] = []
    deadline = time.monotonic() + 30
    while not (set(left) < set(closed)):  # and the writer's job; PostgreSQL notices the death in a moment
        assert time.monotonic() < deadline
        closed += journal.recover()
    assert journal.pending() == []
    for edit in journal.records(left):
        assert edit.outcome is not None
        assert (edit.outcome.outcome, edit.outcome.reason) == ("failed", "interrupted")
    assert {job.state for job in journal.jobs()} == {"failed"}
    assert all(edit.outcome and edit.outcome.outcome == "committed" for edit in journal.records(sorted(live)))
    journal.close()
    if place.is_sqlite:
        with contextlib.closing(sqlite3.connect(place.where)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_restart_leaves_alone_what_a_living_process_is_doing(place: Any) -> None:
    writer = start(place, "living", 10_000)
    try:
        assert writer.stdout is not None
        writer.stdout.readline()
        journal = place.open(timeout_s=60, patience_s=0)
        (job,) = journal.jobs()
        assert [journal.recover() for _ in range(5)] == [[]] * 5
        assert journal.job(job.id).state == "running"
    finally:
        writer.kill()
        writer.communicate(timeout=60)
    deadline = time.monotonic() + 30
    while job.id not in journal.recover():
        assert time.monotonic() < deadline
    journal.close()


def test_a_journal_reopened_in_the_same_process_closes_what_the_former_one_left(place: Any) -> None:
    former = place.open()
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    record = former.new_record("global", request, principal="a", method="ice", artefact="0" * 64, base_version=0)
    former.begin_edit(record)
    assert former.recover() == []
    former.close()
    journal = place.open(patience_s=0)
    assert journal.recover() == [record.id]
    assert journal.recover() == []
    journal.close()


def test_what_another_host_began_is_closed_only_after_a_while(path: Path) -> None:
    journal = Journal(path)
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    record = journal.new_record("global", request, principal="a", method="ice", artefact="0" * 64, base_version=0)
    journal.begin_edit(record)
    journal.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE edits SET writer = 'elsewhere/1/1/00000000'")
    connection.close()
    journal = Journal(path)
    assert journal.recover() == []
    journal.close()
    journal = Journal(path, patience_s=0)
    assert journal.recover() == [record.id]
    journal.close()


def test_an_edit_that_a_restart_closed_cannot_be_committed_any_more(path: Path) -> None:
    journal = Journal(path)
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    record = journal.new_record("global", request, principal="a", method="ice", artefact="0" * 64, base_version=0)
    journal.begin_edit(record)
    other = Journal(path)
    assert other.recover() == []  # two journals of one process are both alive
    journal._writers.close()  # as if it were dead
    assert other.recover() == [record.id]
    with pytest.raises(Conflict, match=r"ended already \(failed: interrupted\)"):
        journal.commit("global", 0, [record.id], "edit", record.id, [Outcome(record.id, "committed")])
    assert journal.head("global").version == 0
    journal.close()
    other.close()
