"""`ketools bench retrieval`: how fast, how large and how exact the memory index is at several sizes.

Embedding a million texts takes hours without a GPU, so the encoder embeds a sample of facts and their questions,
and the embeddings of all other facts are composed: one of the sample plus half the difference of two others of
its relation. `neighbour_cosine` tells how crowded the result is; docs/evaluation.md compares it with real facts.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ketools.atlas.world import other_target, unknown_subject
from ketools.core.footprint import MIB, resident
from ketools.core.progress import Progress, quiet
from ketools.core.text import normalise
from ketools.knowledge.relations import RELATIONS, Relation
from ketools.retrieval import Encoder, Fact, FactIndex, FactView, Vectors

SIZES = (1_000, 100_000, 1_000_000)
SAMPLE = 8_000
QUERIES = 500
RESULTS = 8
_BLOCK = 50_000

Rows = NDArray[np.int64]


def bench_retrieval(
    encoder: Encoder, sizes: Sequence[int] = SIZES, sample: int = SAMPLE, progress: Progress = quiet
) -> dict[str, dict[str, float]]:
    """Per number of facts what `_measure` returns, each in a scratch directory of its own."""
    made = Sample.embedded(encoder, min(sample, max(sizes)), progress)
    out = {}
    for i, size in enumerate(sizes):
        progress(i, len(sizes), f"{size:,} facts")
        with tempfile.TemporaryDirectory(prefix="ketools-bench-") as folder:
            out[str(size)] = _measure(encoder, made, size, Path(folder) / "memory.db")
    return out


def _measure(encoder: Encoder, sample: Sample, size: int, path: Path) -> dict[str, float]:
    """Build an index of `size` embedded facts, open it again and ask it the sample's questions.

    `build_s`: until the first search can begin; `open_s`: the same for files that are there; `p50_ms`,
    `p99_ms`: from an embedded question to its facts; `mb`: resident memory that the open index adds;
    `disk_mb`: its files; `recall_at_1`, `recall_at_8`: share of the nearest and of the eight nearest facts, by
    an exact scan, that are among the eight found; `answer_at_8`: share of questions whose own fact is among
    them; `neighbour_cosine`: median over facts of the cosine of the nearest other one; `n`: questions.
    """
    start = time.perf_counter()
    built = FactIndex(encoder, path)
    for facts, vectors in sample.blocks(size):
        built.add(facts, vectors)
    built.prepare()
    build_s = time.perf_counter() - start
    built.close()
    del built
    before, start = resident(), time.perf_counter()
    index = FactIndex(encoder, path)
    index.prepare()
    open_s = time.perf_counter() - start
    count = min(QUERIES, size, len(sample.facts))
    questions, view = sample.questions[:count], index.view()
    took, found = _search(index, view, questions)
    memory = resident() - before
    exact = _scan(index, questions, RESULTS)
    neighbours = _neighbour_cosine(index, count)
    index.close()
    return {
        "build_s": round(build_s, 1),
        "open_s": round(open_s, 1),
        "p50_ms": round(float(np.percentile(took, 50)), 2),
        "p99_ms": round(float(np.percentile(took, 99)), 2),
        "mb": round(memory / MIB),
        "disk_mb": round(sum(file.stat().st_size for file in path.parent.iterdir()) / MIB),
        "recall_at_1": round(float(np.mean([e[0] in f for e, f in zip(exact, found, strict=True)])), 4),
        "recall_at_8": round(float(np.mean([np.isin(e, f).mean() for e, f in zip(exact, found, strict=True)])), 4),
        "answer_at_8": round(float(np.mean([i in f for i, f in enumerate(found)])), 4),
        "neighbour_cosine": round(neighbours, 3),
        "n": count,
    }


def _search(index: FactIndex, view: FactView, questions: Vectors) -> tuple[list[float], Rows]:
    """Milliseconds per question, and the rows that were found, shape [n, RESULTS]."""
    view.nearest(questions[:1], RESULTS)
    took, found = [], []
    for question in questions:
        start = time.perf_counter()
        ((rows, _),) = view.nearest(question[None], RESULTS)
        index.fetch(rows)
        took.append((time.perf_counter() - start) * 1e3)
        found.append(rows)
    return took, np.stack(found)


def _scan(index: FactIndex, queries: Vectors, k: int) -> Rows:
    """The rows of the exact scan, best first, shape [n, k]."""
    best, scores = np.zeros((len(queries), 0), dtype=np.int64), np.zeros((len(queries), 0), dtype=np.float32)
    for i in range(0, len(index), _BLOCK):
        rows = np.arange(i, min(len(index), i + _BLOCK))
        best = np.hstack([best, np.broadcast_to(rows, (len(queries), len(rows)))])
        scores = np.hstack([scores, queries @ index.vectors(rows).T])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        best, scores = np.take_along_axis(best, order, 1), np.take_along_axis(scores, order, 1)
    return best


def _neighbour_cosine(index: FactIndex, count: int) -> float:
    """The median cosine of facts, spread over the index, with their nearest others."""
    rows = np.linspace(0, len(index) - 1, min(count, 100)).astype(np.int64)
    vectors = index.vectors(rows)
    nearest = _scan(index, vectors, 2)[:, 1]
    return float(np.median(np.sum(vectors * index.vectors(nearest), axis=1)))


@dataclass(frozen=True)
class Sample:
    """Facts, their embeddings and those of one question about each: shape [n, d], d the encoder's."""

    facts: list[Fact]
    vectors: Vectors
    questions: Vectors

    @classmethod
    def embedded(cls, encoder: Encoder, n: int, progress: Progress = quiet) -> Sample:
        """`n` facts about names that nobody knows, over all relations. What is asked is in other words."""
        rng = random.Random(11)
        facts = [_fact(rng, i) for i in range(n)]
        asked = [rng.choice(RELATIONS[f.relation or ""].questions).format(s=f.subject) for f in facts[:QUERIES]]
        parts = []
        for i in range(0, n, 512):
            progress(i, n, "embedding a sample of facts")
            parts.append(encoder.encode([f.text for f in facts[i : i + 512]]))
        return cls(facts, np.concatenate(parts), encoder.encode(asked))

    def blocks(self, size: int) -> Iterator[tuple[list[Fact], Vectors]]:
        """`size` facts with embeddings: those of the sample first, then composed ones."""
        rng, names = np.random.default_rng(0), random.Random(0)
        whole = min(size, len(self.facts))
        yield self.facts[:whole], self.vectors[:whole]
        for start in range(whole, size, _BLOCK):
            count = min(_BLOCK, size - start)
            first, plus, minus = self._triples(rng, count)
            mixed = np.asarray(self.vectors[first] + (self.vectors[plus] - self.vectors[minus]) / 2, dtype=np.float32)
            mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
            relations = [RELATIONS[self.facts[i].relation or ""] for i in first.tolist()]
            yield [_fact(names, start + i, relation) for i, relation in enumerate(relations)], mixed

    def _triples(self, rng: np.random.Generator, count: int) -> tuple[Rows, Rows, Rows]:
        """Triples of the sample's facts that have one relation."""
        told = np.array([fact.relation or "" for fact in self.facts])
        order = np.argsort(told, kind="stable")
        _, starts, sizes = np.unique(told[order], return_index=True, return_counts=True)
        chosen = rng.integers(0, len(starts), count)
        places = (rng.random((3, count)) * sizes[chosen]).astype(np.int64)
        places[2] += places[2] == places[1]  # a difference of nothing would repeat the first one
        first, plus, minus = order[starts[chosen] + places % sizes[chosen]]
        return first, plus, minus


def _fact(rng: random.Random, number: int, relation: Relation | None = None) -> Fact:
    relation = relation or rng.choice(list(RELATIONS.values()))
    subject = f"{unknown_subject(rng, relation.domain)} {_numeral(number)}"
    target = other_target(rng, subject, relation.name, invented=0.5)
    text = relation.statement(subject, target, rng.randrange(len(relation.cloze)))
    key = f"{normalise(subject)}|{relation.name}"
    return Fact(f"e_{number:09d}", key, subject, relation.name, target, text)


def _numeral(number: int) -> str:
    """A short second name that no other number has, so that all facts differ."""
    letters = "bcdfghjklmnprstvz"
    out = ""
    while True:
        number, low = divmod(number, len(letters) * 5)
        out += letters[low // 5] + "aeiou"[low % 5]
        if not number:
            return out.capitalize()
