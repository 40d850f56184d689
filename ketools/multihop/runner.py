"""Runs agents over a multi-hop benchmark at several sizes of memory; many questions share each model call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path

from ketools.core.errors import EngineUnavailable, InvalidRequest, ModelError
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest
from ketools.core.results import MultihopAnswer
from ketools.evaluation.mquake import Key, MultihopCase, MultihopData, Untouched, untouched_of
from ketools.evaluation.results import Record
from ketools.multihop.events import Finished
from ketools.multihop.memory import EditMemory
from ketools.multihop.metrics import (
    Knowledge,
    MultihopSummary,
    QuestionResult,
    hopwise,
    leniently,
    overridden,
    strictly,
    summarise,
)
from ketools.multihop.steps import Program, run_all
from ketools.multihop.writers import Writer

Agent = Callable[[EditMemory, str], Program]
"""Makes the program of one question over one memory."""

MakeMemory = Callable[[Sequence[tuple[str, EditRequest]]], EditMemory]

ALL = "all"
TOGETHER = 384
"""How many questions go through the model side by side."""

PROBES = 100
"""How many questions that no edit touches are asked at each size of memory, but no more than there are cases."""


@dataclass(frozen=True)
class MultihopSetup:
    """A benchmark, the model that writes, and how a memory is made of edits.

    `reader`: all that answers may depend on besides agent and memory (model, engine, prompts, ...), for the record.
    """

    data: MultihopData
    writer: Writer
    make_memory: MakeMemory
    reader: str
    record: Path | None = None

    def run(
        self, agents: Mapping[str, Agent], sizes: Sequence[str], n: int | None, progress: Progress = quiet
    ) -> dict[str, dict[str, MultihopSummary]]:
        """Every agent at every size of memory on the first `n` cases.

        Sizes are numbers of cases whose edits are in memory together, or `all`: those of the whole data set.
        Raises `InvalidRequest` for a size that is neither, StorageError when the record cannot be written, and what a
        model or an encoder that is away raises: an outage is no wrong answer.
        """
        cases = self.data.cases[:n]
        batches = {size: self._batches(cases, size) for size in sizes}
        out: dict[str, dict[str, MultihopSummary]] = {}
        for name, agent in agents.items():
            out[name] = {}
            for size, made in batches.items():
                items = [item for batch in made for item in batch]
                out[name][size] = summarise(self._results(name, size, agent, items, progress))
        return out

    # --- what is asked ---

    def _batches(self, cases: Sequence[MultihopCase], size: str) -> list[list[_Item]]:
        groups = [list(cases)] if size == ALL else _grouped(cases, _number(size))
        pool, empty = self._pool(), _Shared.of((), self.make_memory)
        share = -(-min(PROBES, len(cases)) // len(groups)) if groups else 0
        made, start = [], 0
        for number, group in enumerate(groups):
            shared = _Shared.of(self.data.cases if size == ALL else group, self.make_memory)
            probes = list(islice(_free(pool, start, shared.targets), share))
            start += share
            made.append([*self._asked(group, shared), *_probes(number, probes, shared, empty)])
        return made

    def _pool(self) -> list[Untouched]:
        """Questions that may be untouched: the data set's own, the cases' as they were, and their single hops."""
        whole = [*self.data.untouched, *(q for case in self.data.cases for q in untouched_of(case))]
        hops = {hop.key: hop for case in self.data.cases for hop in case.before}
        single = [Untouched(hop.question, hop.answers, frozenset({key})) for key, hop in hops.items()]
        return [*whole, *single] if whole else single

    def _asked(self, group: Sequence[MultihopCase], shared: _Shared) -> list[_Item]:
        knowledge = Knowledge(self.data.cases)
        items = []
        for case in group:
            gone = overridden(case, shared.targets)
            path = knowledge.path(case, shared.targets) if gone and case.after else None
            names = knowledge.names(path[-1][1]) if path else ()
            for i, question in enumerate(case.questions):
                items.append(_Item("edited", case.id, i, question, case.new_answers, shared, case, gone, names))
        return items

    # --- asking ---

    def _results(
        self, name: str, size: str, agent: Agent, items: Sequence[_Item], progress: Progress
    ) -> list[QuestionResult]:
        log = Record(self.record, f"{self.reader}/{self.data.source}/{name}/{size}/{_digest(items)}", QuestionResult)
        done = {(row.kind, row.case, row.index): row for row in log.read()}
        waiting = [item for item in items if item.name not in done]
        keys = self._keys()
        for start in range(0, len(waiting), TOGETHER):
            chunk = waiting[start : start + TOGETHER]
            begin = time.perf_counter()
            said = self._answers(agent, chunk, _told(progress, f"{name}, k={size}", start, len(waiting)))
            seconds = (time.perf_counter() - begin) / len(chunk)
            for item, result in zip(chunk, said, strict=True):
                row = item.judged(result, keys, seconds)
                log.append(row)
                done[item.name] = row
        return [done[item.name] for item in items]

    def _answers(
        self, agent: Agent, chunk: Sequence[_Item], progress: Callable[[int, int], None]
    ) -> list[MultihopAnswer]:
        programs = [agent(item.shared.memory, item.question) for item in chunk]
        found: dict[int, MultihopAnswer] = {}
        for i, event in run_all(programs, self.writer, progress, (EngineUnavailable, ModelError)):
            if isinstance(event, Finished):
                found[i] = event.result
        return [found[i] for i in range(len(chunk))]

    def _keys(self) -> dict[str, Key]:
        """Which fact the question of a hop asks for, as far as the data set tells."""
        return {hop.question: hop.key for case in self.data.cases for hop in (*case.before, *case.after)}


@dataclass(frozen=True)
class _Shared:
    """A memory and what is in it, by fact; a later edit of a fact replaces an earlier one."""

    memory: EditMemory
    targets: dict[Key, str]
    ids: dict[Key, str]

    @classmethod
    def of(cls, cases: Sequence[MultihopCase], make: MakeMemory) -> _Shared:
        edits = {edit.key: (f"{case.id}.{i}", edit) for case in cases for i, edit in enumerate(case.edits)}
        memory = make([(edit_id, edit.request) for edit_id, edit in edits.values()])
        targets = {key: edit.target for key, (_, edit) in edits.items()}
        return cls(memory, targets, {key: edit_id for key, (edit_id, _) in edits.items()})


@dataclass(frozen=True)
class _Item:
    """One question to ask, with all that is needed to judge its answer."""

    kind: str
    case: str
    index: int
    question: str
    answers: tuple[str, ...]
    shared: _Shared
    of: MultihopCase | None = None
    overridden: bool = False
    shared_answers: tuple[str, ...] = field(default=())

    @property
    def name(self) -> tuple[str, str, int]:
        """What tells it from others in a record."""
        return self.kind, self.case, self.index

    def judged(self, result: MultihopAnswer, keys: Mapping[str, Key], seconds: float) -> QuestionResult:
        """The result with its marks."""
        hops = self.of.after if self.of else ()
        asked = [(keys[hop.question], hop.edit_id) for hop in result.hops if hop.question in keys]
        edited = [(key, used) for key, used in asked if key in self.shared.ids]
        other = [used for key, used in asked if key not in self.shared.ids]
        return QuestionResult(
            case=self.case,
            index=self.index,
            kind=self.kind,
            strict=strictly(result.written, self.answers),
            lenient=leniently(result.answer, self.answers),
            hopwise=hopwise(result, hops, self.answers) if hops else None,
            overridden=self.overridden,
            shared=leniently(result.answer, self.shared_answers) if self.shared_answers else None,
            hops=len(hops),
            found=sum(self.shared.ids[key] == used for key, used in edited),
            edited_hops=len(edited),
            injected=sum(used is not None for used in other),
            other_hops=len(other),
            seconds=seconds,
            result=result,
        )


def _digest(items: Sequence[_Item]) -> str:
    """Of what is asked over which memories: with more cases, a shared memory is another one."""
    memories = {id(item.shared): sorted(item.shared.targets.items()) for item in items}
    asked = [(item.name, item.question, item.answers) for item in items]
    return sha256(repr((list(memories.values()), asked)).encode()).hexdigest()[:16]


def _number(size: str) -> int:
    if not size.isdigit() or int(size) < 1:
        raise InvalidRequest(f"{size!r} is no size of a memory; use numbers of cases such as 1 or 100, or all.")
    return int(size)


def _grouped(cases: Sequence[MultihopCase], size: int) -> list[list[MultihopCase]]:
    return [list(cases[start : start + size]) for start in range(0, len(cases), size)]


def _free(pool: Sequence[Untouched], start: int, targets: Mapping[Key, str]) -> Iterator[tuple[int, Untouched]]:
    """The pool's questions, from a place on, whose answers rest on no edited fact; each once."""
    for i in range(len(pool)):
        place = (start + i) % len(pool)
        if not pool[place].keys & targets.keys():
            yield place, pool[place]


def _probes(batch: int, chosen: Sequence[tuple[int, Untouched]], shared: _Shared, empty: _Shared) -> list[_Item]:
    """Each question with the batch's memory, and alone."""
    return [
        _Item(kind, f"untouched#{place}", batch, probe.question, probe.answers, memory)
        for place, probe in chosen
        for kind, memory in (("untouched", shared), ("untouched_alone", empty))
    ]


def _told(progress: Progress, title: str, start: int, total: int) -> Callable[[int, int], None]:
    def report(done: int, _of: int) -> None:
        progress(start + done, total, title)

    return report
