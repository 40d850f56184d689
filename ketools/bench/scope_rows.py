"""`ketools bench scope --data`: the learnt scope against the rules on rows of data sets, by number of live notes."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.core.names import find
from ketools.core.progress import Progress, quiet
from ketools.core.questions import is_question
from ketools.core.requests import EditRequest, Prompt, chat_prompt
from ketools.knowledge.scope import Scope
from ketools.knowledge.scope.pairs import near_miss
from ketools.knowledge.scope.rows import SLOT, Row, blanked, read_rows
from ketools.layers.kinds.note import Note
from ketools.notes import NoteBook
from ketools.retrieval import Encoder

SIZES = (1, 100, 1000)
WANTED = "rephrase"


@dataclass(frozen=True)
class Question:
    """A question of one row, by position. Only of the kind `rephrase` should its note, and no other, be in scope."""

    kind: str
    row: int
    prompt: Prompt


def bench_rows(
    file: str,
    encoder: Encoder | None,
    scope: Scope | None,
    sizes: Sequence[int] = SIZES,
    n: int | None = None,
    seed: int = 1,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Per decider (`learnt`, `rules`) and number of live notes: shares missed and falsely injected by kind, with n.

    `scope`: the learnt one; without it only the rules are measured. `n`: rows to ask about. Raises InvalidRequest
    for a file without rows of zsRE's, WikiBigEdit's, CounterFact's or QAEdit's form.
    """
    rows = [row for row in read_rows(Path(file)) if find(row.subject, row.prompt)]
    if not rows:
        raise InvalidRequest(f"{file} holds no row whose prompt names its subject.")
    questions = list(_questions(rows, rows[:n], random.Random(seed)))
    deciders: dict[str, Scope | None] = {"rules": None} if scope is None else {"learnt": scope, "rules": None}
    kept = dict.fromkeys(min(size, len(rows)) for size in sizes)
    return {
        "rows": len(rows),
        **{
            name: {str(size): _measure(rows, questions, size, encoder, decider, progress) for size in kept}
            for name, decider in deciders.items()
        },
    }


def _asked(text: str) -> Prompt:
    return chat_prompt(text) if is_question(text) or text[:1].islower() else text


def _questions(rows: Sequence[Row], asked: Sequence[Row], rng: random.Random) -> Iterator[Question]:
    names = [row.subject for row in rows]
    for i, row in enumerate(asked):
        for text in row.rephrases:
            yield Question(WANTED, i, _asked(text))
        for text in row.locality[:1]:
            yield Question("locality", i, _asked(text))
        for text in (*row.others, *_same_subject(row, rows, rng)):
            yield Question("same subject", i, _asked(text))
        if missed := _near_miss(row, names, rng):
            yield Question("near-miss name", i, _asked(missed))
        elsewhere = rng.choice(rows)
        if elsewhere is not row and elsewhere.rephrases:
            yield Question("another fact", i, _asked(rng.choice(elsewhere.rephrases)))


def _same_subject(row: Row, rows: Sequence[Row], rng: random.Random) -> Iterator[str]:
    """The question of another row with this subject put in; of different words, so that it asks for something else."""
    mine = blanked(row.prompt, row.subject)
    others = [text for r in rng.sample(rows, min(8, len(rows))) if (text := blanked(r.prompt, r.subject))]
    different = [text for text in others if mine and len(_words(text) & _words(mine)) <= 0.5 * len(_words(mine))]
    if different:
        yield different[0].replace(SLOT, row.subject)


def _words(text: str) -> set[str]:
    return set(text.lower().replace(SLOT, " ").strip(" ?.").split())


def _near_miss(row: Row, names: Sequence[str], rng: random.Random) -> str | None:
    text = blanked(rng.choice([row.prompt, *row.rephrases]), row.subject)
    name = near_miss(row.subject, names, rng)
    return text.replace(SLOT, name) if text and name else None


def _measure(
    rows: Sequence[Row],
    questions: Sequence[Question],
    size: int,
    encoder: Encoder | None,
    scope: Scope | None,
    progress: Progress,
) -> dict[str, Any]:
    """The rates with `size` notes live at once: each row is asked about while the notes of its group are live."""
    books: dict[int, NoteBook] = {}
    missed: list[bool] = []
    false = defaultdict[str, list[bool]](list)
    besides: list[bool] = []
    started = time.perf_counter()
    for done, question in enumerate(questions):
        progress(done, len(questions), f"{size} notes")
        group = question.row // size
        if group not in books:
            books = {group: _book(rows, group * size, size, encoder, scope)}
        used = {hit.edit_id for hit in books[group].in_scope(question.prompt)}
        own = str(question.row)
        if question.kind == WANTED:
            missed.append(own not in used)
            besides.append(bool(used - {own}))
        elif question.kind == "another fact":
            false[question.kind].append(own in used)
        else:
            false[question.kind].append(bool(used))
    spent = 1e3 * (time.perf_counter() - started) / max(1, len(questions))
    return {
        "missed": _rate(missed),
        "besides": _rate(besides),
        **{kind: _rate(wrong) for kind, wrong in sorted(false.items())},
        "ms": round(spent, 1),
    }


def _book(rows: Sequence[Row], start: int, size: int, encoder: Encoder | None, scope: Scope | None) -> NoteBook:
    """The notes of a group of rows; the last group is filled up from the beginning."""
    places = [i % len(rows) for i in range(start, start + size)]
    notes = [(str(i), Note("ice", request)) for i in dict.fromkeys(places) if (request := _request(rows[i]))]
    return NoteBook(notes, encoder=encoder, scope=scope)


def _request(row: Row) -> EditRequest:
    return EditRequest(subject=row.subject, prompt=row.prompt, target_new=row.answers[0] if row.answers else "new")


def _rate(wrong: Sequence[bool]) -> dict[str, float | int]:
    return {"share": round(sum(wrong) / len(wrong), 4) if wrong else 0.0, "n": len(wrong)}
