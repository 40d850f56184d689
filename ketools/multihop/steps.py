"""Agents as programs: generators that yield events and requests, driven many at a time.

A program never calls a model or an index itself. It yields what it wants, and the driver serves the wants of
all programs together, one batch per kind.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ketools.core.errors import Cancelled, KetoolsError
from ketools.core.results import MultihopAnswer
from ketools.multihop.events import Event, Finished
from ketools.multihop.memory import EditMemory, Remembered
from ketools.multihop.writers import Writer

T = TypeVar("T")


@dataclass(frozen=True)
class Complete:
    """Continue a text up to one of the stops."""

    text: str
    stops: tuple[str, ...]
    tokens: int


@dataclass(frozen=True)
class Ask:
    """Answer a question on its own."""

    question: str
    tokens: int


@dataclass(frozen=True)
class Nearest:
    """The facts of the run's memory that are nearest to a query."""

    memory: EditMemory
    query: str
    k: int


Want = Complete | Ask | Nearest
Steps = Generator[Want | Event, Any, T]
"""Yields wants and events, is sent what it wanted, and returns a T."""

Program = Steps[MultihopAnswer]


def complete(text: str, stops: tuple[str, ...], tokens: int) -> Steps[str]:
    """Have a text continued."""
    written: str = yield Complete(text, stops, tokens)
    return written


def ask(question: str, tokens: int) -> Steps[str]:
    """Have a question answered by the model."""
    answer: str = yield Ask(question, tokens)
    return answer


def nearest(memory: EditMemory, query: str, k: int) -> Steps[list[Remembered]]:
    """Have the memory searched."""
    found: list[Remembered] = yield Nearest(memory, query, k)
    return found


def run(program: Program, writer: Writer) -> Iterator[Event]:
    """The events of one program as they happen; the last is `Finished`."""
    return (event for _, event in run_all([program], writer))


def run_all(
    programs: Sequence[Program],
    writer: Writer,
    progress: Callable[[int, int], None] | None = None,
    fatal: tuple[type[KetoolsError], ...] = (),
) -> Iterator[tuple[int, Event]]:
    """The events of many programs, each with its index; wants are served together, round by round.

    `progress(finished, total)` is called after every round and may raise `Cancelled`. An error of a model or an index
    ends the chain that wanted something; one of the kinds `fatal` is raised.
    """
    fatal = (Cancelled, *fatal)
    wants: dict[int, Want] = {}
    for i, program in enumerate(programs):
        yield from _advance(i, program, None, wants)
    while wants:
        if progress:
            progress(len(programs) - len(wants), len(programs))
        served, wants = wants, {}
        for i, reply in _serve(served, writer, fatal):
            yield from _advance(i, programs[i], reply, wants)
    if progress:
        progress(len(programs), len(programs))


def _advance(i: int, program: Program, reply: Any, wants: dict[int, Want]) -> Iterator[tuple[int, Event]]:
    """Let a program go on with a reply (None: from its beginning) until it wants something or ends."""
    try:
        item = program.throw(reply) if isinstance(reply, KetoolsError) else program.send(reply)
        while not isinstance(item, Complete | Ask | Nearest):
            yield i, item
            item = next(program)
        wants[i] = item
    except StopIteration as end:
        yield i, Finished(result=end.value)


def _serve(wants: dict[int, Want], writer: Writer, fatal: tuple[type[KetoolsError], ...]) -> Iterator[tuple[int, Any]]:
    for batch in _alike(wants):
        kind = list(batch.values())
        try:
            yield from zip(batch, _answers(kind, writer), strict=True)
        except fatal:
            raise
        except KetoolsError as error:
            yield from _one_by_one(batch, writer, error)


def _one_by_one(batch: dict[int, Want], writer: Writer, error: KetoolsError) -> Iterator[tuple[int, Any]]:
    """After a batch has failed: those that fail alone get their own error, the others their answer."""
    for i, want in batch.items():
        if len(batch) == 1:
            yield i, error
            continue
        try:
            yield i, _answers([want], writer)[0]
        except KetoolsError as own:
            yield i, own


def _alike(wants: dict[int, Want]) -> list[dict[int, Want]]:
    """The wants in groups that one call can serve."""
    groups: dict[Any, dict[int, Want]] = {}
    for i, want in wants.items():
        match want:
            case Complete():
                key: Any = ("complete", want.stops, want.tokens)
            case Ask():
                key = ("ask", want.tokens)
            case Nearest():
                key = ("nearest", id(want.memory), want.k)
        groups.setdefault(key, {})[i] = want
    return list(groups.values())


def _answers(wants: Sequence[Want], writer: Writer) -> list[Any]:
    first = wants[0]
    match first:
        case Complete():
            texts = [w.text for w in wants if isinstance(w, Complete)]
            return list(writer.complete(texts, first.stops, first.tokens))
        case Ask():
            return list(writer.answer([w.question for w in wants if isinstance(w, Ask)], first.tokens))
        case Nearest():
            return list(first.memory.nearest([w.query for w in wants if isinstance(w, Nearest)], first.k))
