"""The file of an index: facts with their embeddings in SQLite. Derived data, made again when it is lost.

A fact is written at once and embedded later, so that nothing is lost while the encoder is unreachable.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ketools.core.errors import StorageError
from ketools.core.private import private_folder
from ketools.core.text import normalise

FORMAT = "1"
_CHUNK = 500
_SCHEMA = """
create table if not exists meta (name text primary key, value blob not null);
create table if not exists facts (
    row integer primary key, id text not null unique, key text not null, subject text not null, name text not null,
    relation text, target text not null, text text not null, vector blob
);
create index if not exists facts_by_name on facts (name);
create index if not exists facts_to_embed on facts (row) where vector is null and text <> '';
"""

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact in memory.

    `id`: the edit's. `key`: what identifies the fact; of two with the same key only the newer one counts.
    `text`: the statement that is embedded; a fact without text (an erasure) only hides older ones.
    """

    id: str
    key: str
    subject: str
    relation: str | None
    target: str
    text: str


class FactStore:
    """Facts in the order in which they came; row numbers count from 0 and are never reused. Thread-safe.

    `path` None keeps everything in memory. A file that is damaged or of another format is begun anew.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = RLock()
        self._db = self._open()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def append(self, facts: Iterable[Fact]) -> None:
        """Write facts whose ids are not there yet; the others stay as they are."""
        given = {fact.id: fact for fact in facts}
        with self._writing() as db:
            (count,) = db.execute("select count(*) from facts").fetchone()
            known = self._rows_of(given)
            fresh = {fact_id: fact for fact_id, fact in given.items() if fact_id not in known}
            rows = (
                (count + i, f.id, f.key, f.subject, normalise(f.subject), f.relation, f.target, f.text)
                for i, f in enumerate(fresh.values())
            )
            db.executemany("insert into facts values (?, ?, ?, ?, ?, ?, ?, ?, null)", rows)

    def rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        """The row of each id that is there."""
        with self._reading():
            return self._rows_of(ids)

    def _rows_of(self, ids: Iterable[str]) -> dict[str, int]:
        return {str(i): int(row) for i, row in self._chosen("select id, row from facts where id in", list(ids))}

    def facts(self, rows: Sequence[int]) -> dict[int, Fact]:
        """The facts in these rows."""
        query = "select row, id, key, subject, relation, target, text from facts where row in"
        with self._reading():
            return {int(row): Fact(*fields) for row, *fields in self._chosen(query, list(map(int, rows)))}

    def named(self, subject: str) -> list[int]:
        """The rows of facts about a subject, oldest first; case and outer punctuation do not count."""
        query = "select row from facts where name = ? order by row"
        with self._reading() as db:
            return [int(row) for (row,) in db.execute(query, (normalise(subject),))]

    def keys(self, start: int) -> list[tuple[str, str, bool]]:
        """(id, key, whether it can be searched) of the rows from `start` on, in order."""
        query = "select id, key, text <> '' from facts where row >= ? order by row"
        with self._reading() as db:
            return [(i, key, bool(told)) for i, key, told in db.execute(query, (start,))]

    def vectors(self, start: int) -> Iterator[tuple[NDArray[np.int64], Halves]]:
        """Row numbers and embeddings from row `start` on, in batches; rows not embedded yet are left out."""
        query = "select row, vector from facts where row >= ? and vector is not null order by row limit 20000"
        while True:
            with self._reading() as db:
                found = db.execute(query, (start,)).fetchall()
            if not found:
                return
            rows = np.fromiter((row for row, _ in found), dtype=np.int64, count=len(found))
            data = np.frombuffer(b"".join(vector for _, vector in found), dtype=np.float16)
            yield rows, data.reshape(len(found), -1)
            start = int(rows[-1]) + 1

    def unembedded(self, limit: int) -> list[tuple[int, str]]:
        """(row, text) of facts that wait for their embedding, oldest first."""
        query = "select row, text from facts where vector is null and text <> '' order by row limit ?"
        with self._reading() as db:
            return [(int(row), str(text)) for row, text in db.execute(query, (limit,))]

    def unembedded_count(self) -> int:
        """How many facts wait for their embedding."""
        with self._reading() as db:
            return int(db.execute("select count(*) from facts where vector is null and text <> ''").fetchone()[0])

    def put_vectors(self, rows: Iterable[int], vectors: Halves) -> None:
        """Write the embeddings of some rows."""
        pairs = ((vector.tobytes(), int(row)) for row, vector in zip(rows, vectors, strict=True))
        with self._writing() as db:
            db.executemany("update facts set vector = ? where row = ?", pairs)

    def fingerprint(self) -> bytes | None:
        """What identifies the encoder that made the embeddings."""
        with self._reading() as db:
            found = db.execute("select value from meta where name = 'fingerprint'").fetchone()
        return bytes(found[0]) if found else None

    def inverted_path(self) -> Path | None:
        """Where the inverted file of these very rows and embeddings is kept; None in memory. Others are deleted."""
        if self.path is None:
            return None
        with self._reading() as db:
            parts = db.execute("select value from meta where name in ('fingerprint', 'identity') order by name")
            name = hashlib.blake2b(b"".join(bytes(value) for (value,) in parts), digest_size=8).hexdigest()
        path = self.path.with_name(f"{self.path.stem}-{name}.ivf")
        for stale in set(self.path.parent.glob(f"{self.path.stem}-*.ivf")) - {path}:
            stale.unlink(missing_ok=True)
        return path

    def start_over(self, fingerprint: bytes) -> None:
        """Drop every embedding, to be made again by the encoder with this fingerprint."""
        with self._writing() as db:
            db.execute("update facts set vector = null where vector is not null")
            db.execute("insert or replace into meta values ('fingerprint', ?)", (fingerprint,))

    # --- inside ---

    def _chosen(self, query: str, values: list[str] | list[int]) -> Iterator[tuple[Any, ...]]:
        for i in range(0, len(values), _CHUNK):
            part = values[i : i + _CHUNK]
            yield from self._db.execute(f"{query} ({','.join('?' * len(part))})", part)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors():
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(
                f"The memory index {self.path or 'in memory'} cannot be used: {error}. "
                "It can be deleted: it is made again from the journal."
            ) from error

    def _open(self) -> sqlite3.Connection:
        with self._errors():
            if self.path is None:
                return _prepared(sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None))
            private_folder(self.path.parent)
            if not _usable(self.path):
                for name in (self.path.name, f"{self.path.name}-wal", f"{self.path.name}-shm"):
                    self.path.with_name(name).unlink(missing_ok=True)
            connection = _connect(self.path)
            self.path.chmod(0o600)
            return _prepared(connection)


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=normal")
    connection.executescript(_SCHEMA)
    connection.execute("insert or ignore into meta values ('format', ?)", (FORMAT,))
    connection.execute("insert or ignore into meta values ('identity', ?)", (secrets.token_bytes(16),))
    return connection


def _usable(path: Path) -> bool:
    """Whether the file is absent, or an undamaged store of this format."""
    if not path.exists():
        return True
    with closing(_connect(path)) as db:
        try:
            healthy = db.execute("pragma quick_check(1)").fetchone() == ("ok",)
            (form,) = db.execute("select value from meta where name = 'format'").fetchone() or ("",)
        except sqlite3.OperationalError as error:
            return "locked" in str(error)
        except sqlite3.DatabaseError:
            return False
    return healthy and form == FORMAT
