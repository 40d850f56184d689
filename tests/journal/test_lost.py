"""What is lost is told: a journal that vanished, was emptied, replaced or damaged is never opened as a new one."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ketools.core.errors import StorageError
from ketools.core.requests import EditRequest
from ketools.journal import Journal, Outcome
from ketools.journal.secret import SecretDraft
from ketools.journal.watermark import Watermark


def edited(journal: Journal, subject: str = "France") -> str:
    """Commit an edit on the root space; returns its id."""
    request = EditRequest(subject=subject, prompt=f"The capital of {subject} is", target_new="Lyon")
    head = journal.head("global")
    record = journal.new_record(
        "global", request, principal="a", method="ice", artefact="ab" * 32, base_version=head.version
    )
    journal.begin_edit(record)
    journal.commit(
        "global", head.version, (*head.live, record.id), "edit", record.id, [Outcome(record.id, "committed")]
    )
    return record.id


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A closed journal with two edits."""
    path = tmp_path / "home" / "journal.db"
    journal = Journal(path)
    for subject in ("France", "Japan"):
        edited(journal, subject)
    journal.close()
    return path


def sql(statement: str) -> Callable[[Path], None]:
    """Somebody's own statement on the file."""

    def run(file: Path) -> None:
        with closing(sqlite3.connect(file)) as raw:
            raw.executescript(statement)

    return run


def emptied(file: Path) -> None:
    """Every row of every table."""
    with closing(sqlite3.connect(file)) as raw:
        names = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        raw.executescript(";".join(f"DELETE FROM {name}" for name in names if name != "schema_version"))


def replaced(file: Path) -> None:
    """A database without tables."""
    file.unlink()
    sqlite3.connect(file).close()


def cut(file: Path) -> None:
    """Nothing but the name."""
    file.write_bytes(b"")


LOSSES: dict[str, Callable[[Path], None]] = {
    "the file is gone": Path.unlink,
    "the file is empty": cut,
    "every table was emptied": emptied,
    "every table was dropped": replaced,
    "the spaces are gone": sql("DELETE FROM spaces"),
    "the edits are gone": sql("DELETE FROM edits"),
    "the versions are gone": sql("DELETE FROM versions; DELETE FROM outcomes; DELETE FROM edits"),
    "one edit is gone": sql("DELETE FROM edits WHERE id = (SELECT max(id) FROM edits)"),
    "the last version is gone": sql("DELETE FROM versions WHERE version = 2"),
    "the settings are gone": sql("DELETE FROM settings"),
}


@pytest.mark.parametrize("how", LOSSES)
def test_a_journal_that_lost_what_it_held_does_not_open(file: Path, how: str) -> None:
    for more in file.parent.glob("journal.db-*"):
        more.unlink()
    LOSSES[how](file)
    for _ in range(2):  # the refusal is not spent by the first try
        with pytest.raises(StorageError, match=r"backup") as told:
            Journal(file)
        assert "lost" in str(told.value) or "damaged" in str(told.value) or "older" in str(told.value)


def test_it_says_how_to_start_anew_and_that_works(file: Path) -> None:
    file.unlink()
    with pytest.raises(StorageError, match="To start anew instead, move those files away") as told:
        Journal(file)
    aside = file.parent.parent / "aside"
    aside.mkdir()
    for left in (f"{file.name}.secret", f"{file.name}.head"):
        assert left in str(told.value)
        shutil.move(file.parent / left, aside)
    journal = Journal(file)
    assert journal.head("global").live == ()
    journal.close()


def test_stored_artefacts_alone_tell_that_there_was_a_journal(place: Any, tmp_path: Path) -> None:
    store = tmp_path / "artefacts"
    (store / "ab").mkdir(parents=True)
    place.open(artefacts=store).close()  # an empty store's folders are no artefacts
    (store / "ab" / f"{'ab' * 32}.safetensors").write_bytes(b"x")
    place.open(artefacts=store).close()  # it knows itself
    if place.is_sqlite:
        for part in tmp_path.glob("journal.db*"):
            part.unlink()
        for _ in range(2):
            with pytest.raises(StorageError, match="artefacts"):
                place.open(artefacts=store)


def test_an_older_copy_in_the_journals_place_is_noticed_and_can_be_accepted(file: Path) -> None:
    older = file.with_suffix(".old")
    shutil.copy(file, older)
    journal = Journal(file)
    edited(journal, "Peru")
    journal.close()
    shutil.copy(older, file)
    with pytest.raises(StorageError, match=r"older copy.*remove journal\.db\.head"):
        Journal(file)
    file.with_name("journal.db.head").unlink()
    journal = Journal(file)
    assert len(journal.head("global").live) == 2
    journal.close()


def test_a_lost_write_ahead_log_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    script = (
        "import os, sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2]); import test_lost; from ketools.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1])); test_lost.edited(journal); os._exit(0)"
    )
    Journal(file).close()
    subprocess.run([sys.executable, "-c", script, str(file), str(Path(__file__).parent)], check=True)
    file.with_name("journal.db-wal").unlink()
    with pytest.raises(StorageError, match=r"journal\.db-wal is lost"):
        Journal(file)


def test_a_mark_that_cannot_be_read_or_written_stops_nobody(file: Path) -> None:
    mark = file.with_name("journal.db.head")
    for content in (b"", b"what", b"9" * 10):
        mark.write_bytes(content if content != b"9" * 10 else b"0" * 20)
        journal = Journal(file)
        edited(journal, f"Land{len(content)}")
        journal.close()
    assert int(mark.read_bytes()) > 3


@pytest.mark.parametrize("point", ["before the journal knows", "after the journal knows"])
def test_an_opener_that_dies_while_it_makes_the_secret_leaves_a_journal_that_opens(
    tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    def die(*_: object) -> None:
        raise Died

    name = (
        "ketools.journal.opening._begin" if point.startswith("before") else "ketools.journal.secret.SecretDraft.settle"
    )
    if point.startswith("before"):
        SecretDraft.make(tmp_path / "journal.db.secret")
    with monkeypatch.context() as patch:
        patch.setattr(name, die)
        with pytest.raises(Died):
            Journal(tmp_path / "journal.db")
    journal = Journal(tmp_path / "journal.db")
    edit = edited(journal)
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.head("global").live == (edit,)
    again.close()


def test_many_that_open_a_new_journal_at_once_share_one_secret(place: Any) -> None:
    found: list[str] = []
    start = threading.Barrier(8)

    def opened() -> None:
        start.wait()
        journal = place.open()
        found.append(journal.key_hash("x"))
        journal.close()

    threads = [threading.Thread(target=opened) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert not list(place.secret.parent.glob(".*.tmp"))


def test_a_version_that_names_an_unknown_edit_is_an_error_for_every_space_above_it(file: Path) -> None:
    journal = Journal(file)
    journal.create_space("user/alice")
    journal.close()
    with closing(sqlite3.connect(file)) as raw:
        raw.execute("UPDATE versions SET live = '[\"e_gone\"]' WHERE version = 2")
        raw.commit()
    journal = Journal(file)
    for look in (
        lambda: journal.state("global"),
        lambda: journal.state("user/alice"),
        lambda: journal.live_edits(["global"]),
        lambda: journal.edits("global", live_only=True),
    ):
        with pytest.raises(StorageError, match=r"e_gone.*damaged.*backup"):
            look()
    assert len(journal.edits("global").edits) == 2  # what is there can be looked at
    journal.close()


def test_a_commit_of_another_process_while_a_journal_opens_is_no_lost_version(tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "journal.db")
    mark.note(7)

    def another_commits() -> int:
        mark.note(8)
        return 8

    mark.check(another_commits)
    with pytest.raises(StorageError, match="has 7 versions, but had 8"):
        mark.check(lambda: 7)
