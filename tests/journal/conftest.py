"""A journal in a fresh SQLite file and in a fresh PostgreSQL database, and ways to fill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ketools.core.requests import EditRequest, Kind
from ketools.journal import EditRecord, Journal, Outcome

Begin = Callable[..., EditRecord]
ARTEFACT = "ab" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """For what only a SQLite file can suffer."""
    return tmp_path / "journal.db"


@pytest.fixture
def journal(place: Any) -> Iterator[Journal]:
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
