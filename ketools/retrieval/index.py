"""An index of facts: those nearest in meaning to a question, and those about a subject.

A view is what one space chain sees. Few facts are scanned; many are searched in an inverted file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

import numpy as np
from numpy.typing import NDArray

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.retrieval.encoders import Encoder, Vectors
from ketools.retrieval.inverted import MOST_CELLS, TRAINED_ON, InvertedFile, cells_for
from ketools.retrieval.store import Fact, FactStore, Halves

Rows = NDArray[np.int64]
Bits = NDArray[np.uint8]

_BLOCK = 50_000

BATCH = 256
"""How many texts are embedded between two reports of progress."""

MOST_RESULTS = 1000
SCAN_LIMIT = 20_000
"""A view of up to so many facts is scanned, exactly; above, an inverted file proposes candidates."""

_PROBES = ("The capital of France is Paris", "Who wrote the book?", "Ann Lee works for a company in Oslo")
_SAME_ENCODER = 0.999
"""Least cosine between embeddings of one text by one encoder, on whatever machine."""


@dataclass(frozen=True, slots=True)
class Found:
    """A fact and the cosine of its text with the query."""

    fact: Fact
    score: float


class FactIndex:
    """Facts and their embeddings; grows, never shrinks. Thread-safe.

    `path`: the file that keeps it (None: in memory). When the file is missing or damaged the index is empty;
    when another encoder made it, all texts are embedded anew. `scan_limit`: see `SCAN_LIMIT`.
    """

    def __init__(self, encoder: Encoder, path: Path | None = None, *, scan_limit: int = SCAN_LIMIT) -> None:
        self.scan_limit = scan_limit
        self._encoder = encoder
        self._store = FactStore(path)
        self._lock = RLock()
        self._keys: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self._searchable: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._vectors: Halves = np.zeros((0, 0), dtype=np.float16)
        self._embedded: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._checked = False
        self._inverted: InvertedFile | None = None
        self._grow()

    def __len__(self) -> int:
        return len(self._keys)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def add(self, facts: Iterable[Fact], vectors: Vectors | None = None) -> None:
        """Write facts down, newest last; they are embedded when something is searched, or by `prepare`.

        `vectors` [n, d]: the encoder's embeddings of their texts, where the caller has them already.
        """
        given = list(facts)
        with self._lock:
            self._store.append(given)
            if vectors is not None:
                self._check_encoder()
                known = self._store.rows_of(fact.id for fact in given)
                self._store.put_vectors([known[fact.id] for fact in given], vectors.astype(np.float16))
            self._grow()

    def missing(self, ids: Sequence[str]) -> list[str]:
        """Those of the ids that are not in the index."""
        known = self._store.rows_of(ids)
        return [one for one in ids if one not in known]

    def prepare(self, progress: Progress = quiet) -> None:
        """Embed what is not embedded yet. What was done stays done when it is cancelled or the encoder fails.

        Raises ModelError when the encoder cannot be reached; `progress` may raise Cancelled.
        """
        with self._lock:
            self._grow()
            if not np.array_equal(self._embedded, self._searchable):
                self._check_encoder()
                self._load_vectors()
                self._embed(progress)
            self._organise(progress)

    def view(self, ids: Sequence[str] | None = None) -> FactView:
        """Some facts (default: all), oldest first; of those with one key, only the last counts.

        Raises InvalidRequest for an id that is not in the index.
        """
        with self._lock:
            rows = np.arange(len(self), dtype=np.int64) if ids is None else self._rows(ids)
            newest = rows[_last_of_each(self._keys[rows])]
            return FactView(self, newest[self._searchable[newest]])

    # --- what views use ---

    def fetch(self, rows: Rows) -> list[Fact]:
        """The facts in these rows, in their order."""
        found = self._store.facts(rows.tolist())
        return [found[row] for row in rows.tolist()]

    def named(self, subject: str) -> Rows:
        """The rows of the facts about a subject, oldest first."""
        return np.array(self._store.named(subject), dtype=np.int64)

    def embed(self, queries: Sequence[str]) -> Vectors:
        """The embeddings of the queries, by the encoder that embedded the facts."""
        self.prepare()
        with self._lock:
            self._check_encoder()
        return self._encoder.encode(queries)

    def vectors(self, rows: Rows) -> Vectors:
        """The embeddings in these rows, shape [len(rows), d]."""
        return self._vectors[rows].astype(np.float32)

    def candidates(self, query: Vectors, k: int, allowed: Bits | None) -> Rows | None:
        """Rows that are likely nearest to a query [d]; None when the index is small enough to be scanned."""
        return None if self._inverted is None else self._inverted.candidates(query, k, allowed)

    # --- inside ---

    def _rows(self, ids: Sequence[str]) -> Rows:
        known = self._store.rows_of(ids)
        absent = [one for one in ids if one not in known]
        if absent:
            raise InvalidRequest(f"{len(absent)} facts are not in the index, e.g. {absent[0]}; add them first.")
        return np.fromiter((known[one] for one in ids), dtype=np.int64, count=len(ids))

    def _grow(self) -> None:
        """Take in the rows that this or another process has written."""
        fresh = self._store.keys(len(self._keys))
        if fresh:
            self._keys = np.append(self._keys, np.array([_short(key) for _, key, _ in fresh], dtype=np.uint64))
            self._searchable = np.append(self._searchable, np.array([told for _, _, told in fresh]))
            self._embedded = np.append(self._embedded, np.zeros(len(fresh), dtype=np.bool_))

    def _check_encoder(self) -> None:
        """Once per index: embeddings made by another encoder are dropped."""
        if self._checked:
            return
        mine = self._encoder.encode(_PROBES)
        stored = self._store.fingerprint()
        if stored is None or not _same_encoder(np.frombuffer(stored, dtype=np.float32), mine):
            self._store.start_over(mine.astype(np.float32).tobytes())
        self._vectors = np.zeros((len(self._keys), mine.shape[1]), dtype=np.float16)
        self._checked = True

    def _load_vectors(self) -> None:
        """Read the embeddings that are in the file and not in memory."""
        absent = np.flatnonzero(self._searchable & ~self._embedded)
        if not absent.size:
            return
        for rows, vectors in self._store.vectors(int(absent[0])):
            self._keep(rows[rows < len(self._keys)], vectors[rows < len(self._keys)])

    def _embed(self, progress: Progress) -> None:
        total, done = self._store.unembedded_count(), 0
        while waiting := self._store.unembedded(BATCH):
            progress(done, total, f"embedding {total} facts")
            vectors = self._encoder.encode([text for _, text in waiting]).astype(np.float16)
            rows = [row for row, _ in waiting]
            self._store.put_vectors(rows, vectors)
            self._grow()
            self._keep(np.array(rows, dtype=np.int64), vectors)
            done += len(rows)

    def _organise(self, progress: Progress) -> None:
        """Bring the inverted file up to date, once there is too much to scan."""
        rows = len(self)
        if rows <= self.scan_limit or (self._inverted is not None and len(self._inverted) == rows):
            return
        file = self._inverted or self._load_inverted()
        if file is None or len(file) > rows or cells_for(rows, rows) > file.cells:
            file = self._train(progress)
        fresh = rows - len(file)
        for i in range(len(file), rows, _BLOCK):
            progress(i, rows, "filing facts")
            file.add(self.vectors(np.arange(i, min(rows, i + _BLOCK))))
        self._inverted = file
        if fresh > rows // 10 and (path := self._store.inverted_path()):
            file.save(path)

    def _load_inverted(self) -> InvertedFile | None:
        path = self._store.inverted_path()
        return InvertedFile.load(path) if path else None

    def _train(self, progress: Progress) -> InvertedFile:
        rows = len(self)
        progress(0, rows, "learning cells")
        size = min(rows, MOST_CELLS * TRAINED_ON)
        sample = np.random.default_rng(0).choice(rows, size, replace=False)
        return InvertedFile.trained_on(self.vectors(np.sort(sample)), rows)

    def _keep(self, rows: Rows, vectors: Halves) -> None:
        if len(self._keys) > len(self._vectors):
            room = np.zeros((max(len(self._keys), 2 * len(self._vectors)), vectors.shape[1]), dtype=np.float16)
            room[: len(self._vectors)] = self._vectors
            self._vectors = room
        self._vectors[rows] = vectors
        self._embedded[rows] = True


class FactView:
    """The facts that one space chain sees: a fixed set of rows of an index, oldest first."""

    def __init__(self, index: FactIndex, rows: Rows) -> None:
        self._index = index
        self._rows = rows
        self._matrix: Vectors | None = None
        self._allowed: Bits | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def search(self, queries: Sequence[str], k: int = 8) -> list[list[Found]]:
        """Per query the k nearest facts, nearest first, the newer one first among equals.

        Raises InvalidRequest for a k out of bounds, ModelError when the encoder cannot be reached.
        """
        if not 1 <= k <= MOST_RESULTS:
            raise InvalidRequest(f"k must be between 1 and {MOST_RESULTS}, not {k}.")
        if not queries or not len(self):
            return [[] for _ in queries]
        return [self._found(*nearest) for nearest in self.nearest(self._index.embed(queries), k)]

    def nearest(self, queries: Vectors, k: int) -> list[tuple[Rows, Vectors]]:
        """Per row of `queries` [n, d] the rows of the k nearest facts with their cosines, nearest first."""
        if len(self) > self._index.scan_limit:
            return [self._proposed(query, k) for query in queries]
        if self._matrix is None:
            self._matrix = self._index.vectors(self._rows)
        every = queries @ self._matrix.T
        pairs = zip(queries, every, strict=True)
        return [_top(self._rows, self._matrix, scores, query, k) for query, scores in pairs]

    def _proposed(self, query: Vectors, k: int) -> tuple[Rows, Vectors]:
        """The inverted file proposes, the exact cosine decides."""
        rows = self._index.candidates(query, k, self._bits())
        if rows is None:
            rows = self._rows
        vectors = self._index.vectors(rows)
        return _top(rows, vectors, vectors @ query, query, k)

    def _bits(self) -> Bits | None:
        """One bit per row of the index, set for those in view; None when all are."""
        if len(self) == len(self._index):
            return None
        if self._allowed is None:
            mask = np.zeros(int(self._rows[-1]) + 1, dtype=np.bool_)
            mask[self._rows] = True
            self._allowed = np.packbits(mask, bitorder="little")
        return self._allowed

    def about(self, subject: str) -> list[Fact]:
        """The facts about a subject, newest first; case and outer punctuation of its name do not count."""
        rows = self._index.named(subject)
        place = {row: i for i, row in enumerate(self._rows[np.isin(self._rows, rows)].tolist())}
        return self._index.fetch(np.array(sorted(place, key=lambda row: -place[row]), dtype=np.int64))

    def newest(self, limit: int) -> list[Fact]:
        """The newest facts, newest first."""
        return self._index.fetch(self._rows[::-1][:limit])

    def _found(self, rows: Rows, scores: Vectors) -> list[Found]:
        facts = self._index.fetch(rows)
        return [Found(fact, float(score)) for fact, score in zip(facts, scores, strict=True)]


def _top(rows: Rows, vectors: Vectors, scores: Vectors, query: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The k rows with the highest scores, the later row first among equals.

    A matrix product rounds the same vector differently from place to place, so what is near the top is scored again
    in double precision before it is ordered.
    """
    near = np.arange(len(scores))
    if len(scores) > k:
        near = np.flatnonzero(scores >= np.partition(scores, -k)[-k] - 1e-5)
    exact = np.round(vectors[near].astype(np.float64) @ query.astype(np.float64), 9)
    order = np.lexsort((-rows[near], -exact))[:k]
    return rows[near][order], exact[order].astype(np.float32)


def _short(key: str) -> int:
    """64 bits of a key's hash: a million facts meet by chance once in 37 million indexes."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _last_of_each(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where each key stands for the last time, in ascending order."""
    _, first_from_behind = np.unique(keys[::-1], return_index=True)
    return np.sort(len(keys) - 1 - first_from_behind)


def _same_encoder(stored: Vectors, mine: Vectors) -> bool:
    if stored.size != mine.size:
        return False
    return bool((np.sum(stored.reshape(mine.shape) * mine, axis=1) >= _SAME_ENCODER).all())
