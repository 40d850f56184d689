"""Rows that somebody else changed are found when the journal is opened, named, and nothing is served from them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from ketools.core.errors import StorageError
from ketools.core.requests import EditRequest
from ketools.journal import Journal, Outcome

ALTERATIONS = {
    "a request that is no JSON": ("edits", "UPDATE edits SET request = 'x{'"),
    "a request that is a list": ("edits", "UPDATE edits SET request = '[]'"),
    "a kind that there is not": ("edits", "UPDATE edits SET kind = 'rewrite'"),
    "an artefact outside the store": ("edits", "UPDATE edits SET artefact = '../../etc/passwd'"),
    "an outcome that there is not": ("outcomes", "UPDATE outcomes SET outcome = 'fine'"),
    "live edits that are no list": ("versions", "UPDATE versions SET live = '{}' WHERE version = 1"),
    "live edits that are no JSON": ("versions", "UPDATE versions SET live = 'e_' WHERE version = 1"),
    "a refused edit that is live": ("versions", "UPDATE outcomes SET outcome = 'refused'"),
    "an edit without an outcome that is live": ("versions", "DELETE FROM outcomes"),
    "a version from nowhere": ("versions", "UPDATE versions SET version = 7 WHERE version = 1"),
    "ancestors that are no list": ("spaces", "UPDATE spaces SET chain = '1'"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A closed journal with one edit."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    request = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
    made = journal.new_record("global", request, principal="a", method="ice", artefact="ab" * 32, base_version=0)
    journal.begin_edit(made)
    journal.commit("global", 0, (made.id,), "edit", made.id, [Outcome(made.id, "committed")])
    journal.close()
    return path


@pytest.mark.parametrize("how", ALTERATIONS)
def test_an_altered_row_is_named_and_the_journal_does_not_open(file: Path, how: str) -> None:
    table, statement = ALTERATIONS[how]
    with closing(sqlite3.connect(file)) as raw:
        raw.executescript(statement)
    for _ in range(2):
        with pytest.raises(StorageError, match=rf"the row .* of '{table}' is not as it was written.*backup"):
            Journal(file)


def test_a_journal_that_nobody_altered_opens(file: Path) -> None:
    journal = Journal(file)
    assert len(journal.head("global").live) == 1
    journal.close()


def test_a_clock_that_was_set_back_makes_no_job_older_than_its_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.db")
    space = journal.create_space("user/a")
    hour_ago = time.time() - 3600
    monkeypatch.setattr(time, "time", lambda: hour_ago)
    job = journal.job_event(journal.new_job_id(), space="user/a", kind="count", state="queued", arguments={})
    assert job.created_at >= space.created_at
    journal.drop_space("user/a")
    assert journal.create_space("user/a").created_at > job.created_at, "the job is not the next owner's"
    journal.close()
