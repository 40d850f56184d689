"""An old journal stays readable."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from ketools.core.errors import StorageError
from ketools.core.requests import EditRequest, Kind
from ketools.journal import Journal
from ketools.journal.database import Database
from ketools.journal.migrations import MIGRATIONS, migrate, schema_version
from ketools.journal.schema import metadata

DATA = Path(__file__).parent / "data"


def add_colour(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE spaces ADD COLUMN colour VARCHAR(10)"))


def break_down(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE half_done (id INTEGER)"))
    connection.execute(text("SELECT * FROM nowhere"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal that schema version 1 wrote, kept as the SQL that rebuilds its file."""
    path = tmp_path / "journal.db"
    with sqlite3.connect(path) as connection:
        connection.executescript((DATA / "journal_v1.sql").read_text())
    connection.close()
    (tmp_path / "journal.db.secret").write_bytes(bytes(range(32)))
    return path


def test_a_journal_of_version_1_still_tells_everything(old: Path) -> None:
    journal = Journal(old)
    assert [space.name for space in journal.spaces()] == ["global", "user/alice"]
    live = journal.live_edits(["global", "user/alice"])
    (france,) = live["global"]
    assert france.request["target_new"] == "Lyon"
    assert france.key_hash == journal.key_hash("france|capital")
    assert france.outcome is not None
    assert france.outcome.evidence is not None
    assert france.outcome.evidence.success == 1
    assert [edit.request["subject"] for edit in live["user/alice"]] == ["[redacted]"]
    assert [version.version for version in journal.history("global")] == [2, 1, 0]
    assert [job.state for job in journal.jobs()] == ["done"]
    (left,) = journal.pending()
    assert left.method == "rome"
    assert journal.recover() == [left.id]
    journal.close()


def test_a_fact_of_a_version_1_journal_is_found_under_its_key_of_now(old: Path) -> None:
    journal = Journal(old)
    (france,) = journal.live_edits(["global"])["global"]
    (erased,) = journal.live_edits(["user/alice"])["user/alice"]
    assert (france.key_rule, erased.key_rule) == (2, 1)
    asked = EditRequest(subject="FRANCE", prompt="The capital of FRANCE is", target_new="Oslo", relation="capital")
    assert france.key_hash in journal.key_hashes(asked)
    journal.close()


def test_an_erasure_of_a_version_1_journal_is_found_under_its_key_of_then(old: Path) -> None:
    journal = Journal(old)
    (erased,) = journal.live_edits(["user/alice"])["user/alice"]
    asked = EditRequest(
        kind=Kind.ERASE, subject="PERU", prompt="The capital of PERU is", target_new="x", relation="capital"
    )
    assert erased.key_hash in journal.key_hashes(asked)
    journal.close()


def test_a_later_migration_brings_an_old_journal_up_to_date_and_keeps_its_rows(old: Path) -> None:
    engine = create_engine(f"sqlite:///{old}")
    with engine.begin() as connection:
        assert schema_version(connection) == 1
        migrate(connection, [*MIGRATIONS[:1], add_colour])
        assert schema_version(connection) == 2
        assert "colour" in {column["name"] for column in inspect(connection).get_columns("spaces")}
        assert connection.execute(text("SELECT count(*) FROM edits")).scalar() == 4
    with engine.begin() as connection:
        migrate(connection, [*MIGRATIONS[:1], add_colour])
        assert connection.execute(text("SELECT count(*) FROM schema_version")).scalar() == 2
    engine.dispose()


def test_a_journal_of_a_newer_ketools_is_left_alone(old: Path) -> None:
    with sqlite3.connect(old) as connection:
        connection.execute("INSERT INTO schema_version VALUES (99, 0)")
    connection.close()
    with pytest.raises(StorageError, match=r"schema version 99.*newer"):
        Journal(old)


def test_a_migration_that_fails_changes_nothing(place: Any) -> None:
    database = Database(place.where, 1.0)
    with pytest.raises(StorageError, match="nowhere"):
        database.write(lambda connection: migrate(connection, [*MIGRATIONS, break_down]))
    assert database.read(lambda connection: inspect(connection).get_table_names()) == []
    database.close()


def test_the_migrations_make_the_tables_that_the_code_reads(place: Any) -> None:
    place.open().close()
    engine = Database(place.where, 10.0).engine
    found = inspect(engine)
    assert set(found.get_table_names()) == set(metadata.tables)
    for name, table in metadata.tables.items():
        made = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert made == {column.name: column.nullable for column in table.columns}, name
        keys = found.get_pk_constraint(name)["constrained_columns"]
        assert keys == [column.name for column in table.primary_key], name
        foreign = {key["constrained_columns"][0]: key["referred_table"] for key in found.get_foreign_keys(name)}
        assert foreign == {key.parent.name: key.column.table.name for key in table.foreign_keys}, name
    engine.dispose()


def test_processes_that_open_a_new_journal_at_once_agree(place: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from ketools.journal import Journal; "
        "j = Journal(sys.argv[1], secret_path=Path(sys.argv[2])); "
        "print(j.key_hash('x'), j.head('global').version)"
    )
    command = [sys.executable, "-c", code, place.where, str(place.secret)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(told) == 1
