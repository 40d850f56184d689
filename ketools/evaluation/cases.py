"""One case of a benchmark: an edit, and everything that is asked about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from ketools.core.requests import EditRequest, Kind, Probe

Probes = tuple["CaseProbe", ...]


class CaseProbe(Probe):
    """A probe with further right answers beside `answer`: other names of the same thing.

    `test`: what it counts in together with others; without, it counts alone.
    """

    aliases: tuple[str, ...] = ()
    test: JointTest | None = None

    @property
    def answers(self) -> tuple[str, ...]:
        """All right answers; empty when only a comparison with the answer before the edit counts."""
        return ((self.answer,) if self.answer else ()) + self.aliases


class JointTest(BaseModel):
    """Probes of one kind that count as one, told apart within a case by `number`: a test case of RippleEdits.

    `every`: whether all of them must pass, or any. `conditions`: what the untouched model must answer right; else it
    is not asked and does not count.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    every: bool = False
    conditions: Probes = ()


CaseProbe.model_rebuild()


@dataclass(frozen=True)
class EditCase:
    """An edit with its probes; portability and locality are grouped by the kind that the data set names.

    `direct` asks for the edit as the data set does, `rephrase` in other words; `portability` is what should
    follow from the edit, `locality` what should stay. `wanted`, `unwanted`: utterances in the manner that a personality
    edit asks for and in others. `references`: texts about what the edit says, for consistency.
    """

    id: str
    task: str
    request: EditRequest
    direct: CaseProbe
    rephrase: Probes = ()
    portability: Mapping[str, Probes] = field(default_factory=lambda: MappingProxyType({}))
    locality: Mapping[str, Probes] = field(default_factory=lambda: MappingProxyType({}))
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    @property
    def conditions(self) -> Probes:
        """What the untouched model must answer right for some test of the case to count."""
        groups = (*self.portability.values(), *self.locality.values())
        tests = dict.fromkeys(probe.test for probes in groups for probe in probes if probe.test)
        return tuple(dict.fromkeys(condition for test in tests for condition in test.conditions))

    @cached_property
    def digest(self) -> str:
        """Content hash of what is edited and asked. A secret has no part in it: it could be guessed from its hash."""
        old = None if self.request.kind is Kind.ERASE else self.request.target_old
        told = [getattr(self, one.name) for one in fields(self) if one.name != "request"]
        return _hashed([repr(self.request.model_copy(update={"target_old": old})), *map(repr, told)])


def digest_of(cases: Sequence[EditCase]) -> str:
    """Content hash of cases that are edited together, or one on top of the other."""
    return _hashed([case.digest for case in cases])


def _hashed(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def interleaved(cases: Iterable[EditCase], limit: int | None = None) -> list[EditCase]:
    """The cases with their tasks taken in turn, so that the first `limit` hold about as many of each."""
    by_task: dict[str, list[EditCase]] = {}
    for case in cases:
        by_task.setdefault(case.task, []).append(case)
    longest = max(map(len, by_task.values()), default=0)
    ordered = [group[i] for i in range(longest) for group in by_task.values() if i < len(group)]
    return ordered[:limit]
