"""Opening a journal: its secret, and the refusal to go on silently where one was lost or damaged."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, insert, select

from ketools.core.errors import StorageError
from ketools.core.requests import Kind
from ketools.core.space_names import ROOT
from ketools.journal import space_rows, version_rows
from ketools.journal.database import Database
from ketools.journal.schema import settings
from ketools.journal.secret import SecretDraft, keyed_hash, load_secret, settle_left
from ketools.journal.watermark import Watermark

_CHECK = "secret_check"


def load(db: Database, given: Path | None, artefacts: Path | None, mark: Watermark | None, wait_s: float) -> bytes:
    """The key for hashes, checked against the journal: with another key no fact would be recognised.

    A journal without a key gets one, and its root space. Raises StorageError, also when the journal is empty and
    what lies beside it (a secret, the store's `artefacts`, a `mark`) shows that it was not always.
    """
    beside = db.file.with_name(f"{db.file.name}.secret") if db.file else None
    path = given or beside
    if path is None:
        raise StorageError("A journal by URL needs secret_path: a file that all its servers share.")
    present = path.exists()  # before the journal is asked: who makes both writes to the journal first
    known = db.value(select(settings.c.value).where(settings.c.name == _CHECK))
    if known is None:
        _refuse_if_lost(db, path if present and path == beside else None, artefacts, mark)
        known = _begin(db, path, present)
    if not path.exists():
        settle_left(path, known, _CHECK)
    secret = load_secret(path, 0.0 if present else wait_s)
    if keyed_hash(secret, _CHECK) != known:
        raise StorageError(f"The secret file {path} belongs to another journal. Put the right one back.")
    return secret


def _begin(db: Database, path: Path, present: bool) -> str:
    """Write down the check of a new journal's secret, which is made unless it is `present`; returns the check."""
    draft = None if present else SecretDraft.make(path)
    check = keyed_hash(draft.secret if draft else load_secret(path), _CHECK)

    def work(connection: Connection) -> str:
        known = connection.execute(select(settings.c.value).where(settings.c.name == _CHECK)).scalar()
        if known is None:
            connection.execute(insert(settings).values(name=_CHECK, value=check))
            version_rows.insert_version(connection, space_rows.insert_space(connection, ROOT, None, None), 0)
        return known or check

    known = db.write(work)
    if draft:
        (draft.settle if known == check else draft.discard)()
    return known


def _refuse_if_lost(db: Database, secret: Path | None, artefacts: Path | None, mark: Watermark | None) -> None:
    """Raise StorageError when an empty journal stands where one has been: opening it would forget everything."""
    found = [str(secret)] if secret else []
    if mark and mark.read():
        found.append(str(mark.path))
    if artefacts and next(artefacts.glob("??/*.safetensors"), None):
        found.append(f"{artefacts} with artefacts")
    if found:
        raise StorageError(
            f"The journal {db.name} is empty, but what belonged to one is here: {', '.join(found)}. It was lost or "
            "emptied, with every edit and erasure. Restore it from a backup. To start anew instead, move those files "
            "away first."
        )


def check_whole(db: Database, mark: Watermark | None) -> None:
    """Raise StorageError when the journal has lost rows, or versions that it had."""
    if mark:
        mark.check(lambda: db.value(version_rows.LAST_SEQUENCE) or 0)
    if damaged := db.read(_damage):
        raise StorageError(
            f"The journal {db.name} is damaged: {damaged}. Restore it from a backup; nothing is served from it."
        )


def _damage(connection: Connection) -> str:
    """What is missing that every journal has, in words; an empty string for a whole one."""
    if not space_rows.is_living(connection, ROOT):
        return f"the space {ROOT!r} is gone"
    if connection.dialect.name != "sqlite":
        return ""  # PostgreSQL lets nobody remove a row that another one names
    row = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if row:
        return f"a row of {row[0]!r} names one of {row[2]!r} that is gone"
    return next(filter(None, (_altered(connection, *rule) for rule in _RULES)), "")


def _json(column: str, kind: str) -> str:
    """SQL that is true for a column that holds no JSON of that kind."""
    return f"CASE WHEN json_valid({column}) THEN json_type({column}) != '{kind}' ELSE 1 END"


_KINDS = ", ".join(f"'{kind}'" for kind in Kind)
_RULES = (
    ("spaces", "id", _json("chain", "array")),
    ("edits", "id", _json("request", "object")),
    ("edits", "id", f"kind NOT IN ({_KINDS}) OR base_version < 0"),
    ("edits", "id", "artefact IS NOT NULL AND (length(artefact) != 64 OR artefact GLOB '*[^0-9a-f]*')"),
    ("outcomes", "edit_id", "outcome NOT IN ('committed', 'refused', 'cancelled', 'failed')"),
    ("outcomes", "edit_id", _json("supersedes", "array")),
    ("versions", "space_id || ' version ' || version", _json("live", "array")),
    (
        "versions",
        "space_id || ' version ' || version",
        "version > (SELECT count(*) - 1 FROM versions AS others WHERE others.space_id = versions.space_id)",
    ),
    (
        "versions",
        "space_id || ' version ' || version",
        "EXISTS (SELECT 1 FROM json_each(live) JOIN edits ON edits.id = value LEFT JOIN outcomes ON edit_id = value "
        "WHERE coalesce(outcome, '') != 'committed')",
    ),
)
"""Per table, what names a row of it, and a condition that no row meets which ketools wrote."""


def _altered(connection: Connection, table: str, name: str, wrong: str) -> str:
    """The first row that is not as it was written, in words; an empty string when there is none."""
    found = connection.exec_driver_sql(f"SELECT {name} FROM {table} WHERE {wrong} LIMIT 1").scalar()
    return "" if found is None else f"the row {found} of {table!r} is not as it was written"
