"""What the scope head is trained on: rows of benchmark files, and packaged ways to ask in many words and languages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.core.names import canonical, find

PACKAGED = Path(__file__).parent / "data"
SLOT = "{s}"

_PROMPT = ("prompt", "src")
_REPHRASE = ("rephrase", "rephrase_prompt", "paraphrase")
_LOCALITY = ("locality_prompt", "loc", "locality")
_ANSWERS = ("target_new", "target", "alt", "ground_truth", "pred")


@dataclass(frozen=True)
class Row:
    """One fact as a benchmark gives it: its prompt, other words for it, and what must stay out of its scope.

    `others`: other questions about the same subject. `answers`: what the prompt is, or was, answered.
    """

    subject: str
    prompt: str
    rephrases: tuple[str, ...] = ()
    locality: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Asking:
    """A relation of a kind of subject, with the ways to ask for it (`SLOT` for the subject), in one language."""

    language: str
    kind: str
    relation: str
    phrasings: tuple[str, ...]


def read_rows(path: Path) -> list[Row]:
    """The rows of a file in zsRE's, WikiBigEdit's, CounterFact's or QAEdit's form. Raises `InvalidRequest`."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(raw, list):
        raise InvalidRequest(f"{path} is no list of rows.")
    rows = [row for item in raw if (row := _row(item, path.stem)) is not None]
    if not rows:
        raise InvalidRequest(f"{path} holds no row with a prompt (prompt, src), a subject and a rephrase.")
    return rows


def _row(item: Any, source: str) -> Row | None:
    if not isinstance(item, dict):
        return None
    prompt, subject = _first(item, _PROMPT), item.get("subject")
    if not isinstance(prompt, str) or not isinstance(subject, str):
        return None
    answers = tuple(item[name].strip() for name in _ANSWERS if isinstance(item.get(name), str) and item[name].strip())
    return Row(
        subject.strip(),
        prompt.strip(),
        tuple(_texts(_first(item, _REPHRASE))),
        tuple(_texts(_first(item, _LOCALITY))),
        answers=answers,
        source=source,
    )


def texts_of(row: Row) -> Iterator[str]:
    """Every text of a row that a model could remember: its subject, prompts and questions."""
    yield row.subject
    yield row.prompt
    yield from (*row.rephrases, *row.locality, *row.others)


def without(rows: Iterable[Row], held_out: Collection[str]) -> list[Row]:
    """The rows without what is held out, given in canonical form: texts are dropped, and whole rows for a subject
    or prompt."""
    kept = []
    for row in rows:
        if canonical(row.subject) in held_out or canonical(row.prompt) in held_out:
            continue

        def left(texts: Iterable[str]) -> tuple[str, ...]:
            return tuple(text for text in texts if canonical(text) not in held_out)

        kept.append(replace(row, rephrases=left(row.rephrases), locality=left(row.locality), others=left(row.others)))
    return kept


def _first(item: dict[str, Any], names: Sequence[str]) -> Any:
    return next((item[name] for name in names if item.get(name)), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.removeprefix("nq question: ").strip()
    elif isinstance(value, dict):
        yield from _texts(_first(value, ("loc", "prompt", "question")))
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _lines(name: str) -> Iterator[str]:
    for line in (PACKAGED / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


@cache
def open_rows() -> tuple[Row, ...]:
    """Packaged questions as people ask them, each in other words and with another question about its subject."""
    rows = []
    for line in _lines("open.txt"):
        question, subject, rephrase, *others = (part.strip() for part in line.split("|"))
        rows.append(Row(subject, question, (rephrase,), others=tuple(others), source="open"))
    return tuple(rows)


@cache
def askings() -> tuple[Asking, ...]:
    """Packaged relations with ways to ask for them, in English and in other languages."""
    found = []
    for name in ("relations.txt", "languages.txt"):
        for line in _lines(name):
            head, _, tail = line.partition(": ")
            parts = [part.strip() for part in head.split(" / ")]
            if name == "relations.txt":
                parts.insert(0, "en")
            if len(parts) == 3:
                language, kind, relation = parts
                found.append(Asking(language, kind, relation, tuple(one.strip() for one in tail.split(" | "))))
    return tuple(found)


@cache
def names_of() -> dict[tuple[str, str], tuple[str, ...]]:
    """Packaged names by language and kind of subject."""
    found = {}
    for line in _lines("languages.txt"):
        head, _, tail = line.partition(": ")
        parts = [part.strip() for part in head.split(" / ")]
        if len(parts) == 2:
            found[parts[0], parts[1]] = tuple(one.strip() for one in tail.split(" | "))
    return found


def blanked(text: str, subject: str) -> str | None:
    """The text with `SLOT` for the subject, or None when it does not name it."""
    spans = find(subject, text)
    if not spans:
        return None
    out, end = "", 0
    for span in spans:
        out, end = out + text[end : span.start] + SLOT, span.end
    return out + text[end:]
