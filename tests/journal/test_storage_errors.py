"""Every way in which a database can refuse is told with the next step, and loses nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from ketools.core.errors import StorageError
from ketools.journal import EditRecord, Journal, Outcome

Begin = Callable[..., EditRecord]


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    """What only a SQLite file can suffer; test_postgresql.py has the other database's troubles."""
    opened = Journal(path)
    yield opened
    opened.close()


@contextmanager
def every_connection(statement: str) -> Iterator[None]:
    """Run a statement on each database connection that is opened meanwhile."""

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute(statement)

    event.listen(Engine, "connect", prepare)
    try:
        yield
    finally:
        event.remove(Engine, "connect", prepare)


def test_a_database_locked_by_another_process_is_told_and_works_again_afterwards(path: Path) -> None:
    journal = Journal(path, timeout_s=0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"locked.*call again"):
        journal.create_space("user/alice")
    assert journal.head("global").version == 0  # readers are not blocked
    other.execute("ROLLBACK")
    other.close()
    assert journal.create_space("user/alice").name == "user/alice"
    journal.close()


def test_a_locked_new_journal_is_told(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="locked"):
        Journal(path, timeout_s=0.1)
    other.close()


def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path) -> None:
    path.write_bytes(b"these are my holiday pictures " * 400)
    with pytest.raises(StorageError, match=rf"{path}.*not a database.*backup"):
        Journal(path)
    assert path.read_bytes().startswith(b"these are my holiday pictures")


def test_a_damaged_database_is_told(path: Path, journal: Journal) -> None:
    journal.create_space("user/alice")
    journal.close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(StorageError, match=r"damaged|malformed"):
        Journal(path)


def test_a_full_disk_is_told_and_the_unfinished_transaction_leaves_nothing(path: Path, begin: Begin) -> None:
    record, number = begin(), 0
    with every_connection("PRAGMA max_page_count=40"):
        journal = Journal(path)
        with pytest.raises(StorageError, match=r"full.*Free some disk space"):
            for number in range(10_000):
                journal.create_space(f"{'x' * 100}/{number}")
        assert len(journal.spaces()) == number + 1
        with pytest.raises(StorageError):
            journal.commit("global", 0, [record.id], "r" * 100_000, outcomes=[Outcome(record.id, "committed")])
        assert journal.head("global").version == 0
        journal.close()
    later = Journal(path)
    later.commit("global", 0, [record.id], "edit", record.id, [Outcome(record.id, "committed")])
    assert later.head("global").live == (record.id,)
    later.close()


def test_a_read_only_database_still_reads_and_tells_why_it_does_not_write(path: Path, journal: Journal) -> None:
    journal.create_space("user/alice")
    with every_connection("PRAGMA query_only=ON"), pytest.raises(StorageError, match=r"readonly.*writable"):
        Journal(path).create_space("user/bob")
    assert len(journal.spaces()) == 2


def test_a_path_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be used"):
        Journal(tmp_path / "file" / "journal.db")
    with pytest.raises(StorageError, match=r"unable to open.*Check the path"):
        Journal(tmp_path)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "not a url://x", "mysql://host/x", "postgresql+asyncpg://host/x"]
)
def test_urls_that_cannot_hold_a_journal_are_told(url: str) -> None:
    with pytest.raises(StorageError):
        Journal(url)


def test_a_sqlite_url_is_the_same_as_its_path(path: Path, journal: Journal) -> None:
    journal.create_space("user/alice")
    other = Journal(f"sqlite:///{path}")
    assert [space.name for space in other.spaces()] == ["global", "user/alice"]
    other.close()
