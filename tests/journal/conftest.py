"""A journal in a fresh SQLite file and in a fresh PostgreSQL database, and ways to fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ketools.edits import EditRequest, Kind
from ketools.journal import EditRecord, Journal, Outcome

Begin = Callable[..., EditRecord]
ARTEFACT = "ab" * 32


@dataclass(frozen=True)
class Place:
    """Where a journal lies, and its secret."""

    where: str
    secret: Path

    @property
    def is_sqlite(self) -> bool:
        return "postgresql" not in self.where

    def open(self, **options: Any) -> Journal:
        """Another connection to the journal, as another server has it."""
        return Journal(self.where, secret_path=self.secret, **options)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """For what only a SQLite file can suffer."""
    return tmp_path / "journal.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Every test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return Place(str(tmp_path / "journal.db"), tmp_path / "journal.db.secret")
    return Place(request.getfixturevalue("postgresql").new_schema(), tmp_path / "journal.secret")


@pytest.fixture
def journal(place: Place) -> Iterator[Journal]:
    opened = place.open()
    yield opened
    opened.close()


@pytest.fixture
def begin(journal: Journal) -> Begin:
    """Begin an edit of a subject's capital; returns its record."""

    def run(
        subject: str = "France", space: str = "global", target: str = "Lyon", kind: Kind = Kind.MODIFY
    ) -> EditRecord:
        request = EditRequest(
            kind=kind, subject=subject, prompt=f"The capital of {subject} is", target_new=target, relation="capital"
        )
        return journal.begin_edit(
            journal.new_record(
                space,
                request,
                principal="alice",
                method="ice",
                artefact=ARTEFACT,
                base_version=journal.head(space).version,
            )
        )

    return run


@pytest.fixture
def commit(journal: Journal, begin: Begin) -> Begin:
    """Begin an edit and commit it on top of what is live; returns its record."""

    def run(subject: str = "France", space: str = "global", **more: object) -> EditRecord:
        record, head = begin(subject, space, **more), journal.head(space)
        live = (*head.live, record.id)
        journal.commit(space, head.version, live, "edit", record.id, [Outcome(record.id, "committed")])
        return journal.edit(record.id)

    return run
