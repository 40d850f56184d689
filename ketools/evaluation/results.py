"""What came out: per case, as a resumable file, and summed up per method."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ketools.edits import Kind
from ketools.errors import StorageError
from ketools.evaluation.metrics import interval, mean

Group = Literal["success", "rephrase", "portability", "locality"]
GROUPS: tuple[Group, ...] = ("success", "rephrase", "portability", "locality")


class Answer(BaseModel):
    """The greedy answer to one probe under the edit, and whether it is what it should be."""

    model_config = ConfigDict(frozen=True)

    group: Group
    kind: str
    prompt: str
    chat: bool
    answer: str
    passed: bool
    leaked: bool = False


class CaseResult(BaseModel):
    """Everything measured on one case. `failed` says why the edit was not made, if it was not."""

    model_config = ConfigDict(frozen=True)

    id: str
    task: str
    kind: Kind
    ms: float
    failed: str = ""
    before: bool = False
    answers: tuple[Answer, ...]
    success_teacher_forced: float | None = None
    rephrase_teacher_forced: float | None = None
    probability: float | None = None
    locality_tokens: float | None = None
    fluency: float | None = None
    fluency_before: float | None = None

    def share(self, group: Group) -> float | None:
        """Mean over the kinds of the group of the share of its answers that passed; None without answers."""
        kinds = dict.fromkeys(a.kind for a in self.answers if a.group == group)
        return mean([v for kind in kinds if (v := self.share_of(group, kind)) is not None])

    def share_of(self, group: Group, kind: str) -> float | None:
        """Share of the answers of one kind that passed."""
        return mean([float(a.passed) for a in self.answers if a.group == group and a.kind == kind])


class Measure(BaseModel):
    """A mean over cases (`n` of them, `probes` prompts in all); None when there was nothing to measure."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    n: int
    probes: int


class TaskSummary(BaseModel):
    """The four shares of one task."""

    model_config = ConfigDict(frozen=True)

    success: float | None
    rephrase: float | None
    portability: float | None
    locality: float | None
    n: int


class Erasure(BaseModel):
    """Over all phrasings of what was to be forgotten: refused, still told (lower is better), and how many."""

    model_config = ConfigDict(frozen=True)

    refusal: float
    leak: float
    n: int


class Summary(BaseModel):
    """One method on one data set. Shares are means over cases; `ci` are 95% bootstrap intervals of them.

    `success`, `rephrase`: greedy answers. `success_teacher_forced`, `rephrase_teacher_forced`: the reference's
    token accuracy. `probability`: of the whole target. `success_before`: cases right without an edit.
    `fluency_before`: of the untouched model's texts from the same beginnings.
    `locality`: same greedy answer as before; `locality_tokens`: same argmax along the earlier answer.
    `failed`: edits refused or diverged (they count, without effect); `bad_rows`: rows not read (not in `n`).
    `ms_per_edit`: the median.
    """

    model_config = ConfigDict(frozen=True)

    success: float | None
    rephrase: float | None
    portability: float | None
    locality: float | None
    fluency: float | None
    n: int
    by_kind: dict[str, dict[str, Measure]]
    by_task: dict[str, TaskSummary]
    ms_per_edit: float
    success_teacher_forced: float | None
    rephrase_teacher_forced: float | None
    probability: float | None
    locality_tokens: float | None
    success_before: float | None
    fluency_before: float | None
    counts: dict[str, int]
    ci: dict[str, tuple[float, float]]
    erasure: Erasure | None = None
    failed: int = 0
    bad_rows: int = 0


def summarise(results: Sequence[CaseResult], *, bad_rows: int = 0) -> Summary:
    """Sum up the results of one method."""
    shares = {group: [v for r in results if (v := r.share(group)) is not None] for group in GROUPS}
    made = [r.ms for r in results if not r.failed]
    fluent = _values(results, lambda r: r.fluency)
    return Summary(
        success=mean(shares["success"]),
        rephrase=mean(shares["rephrase"]),
        portability=mean(shares["portability"]),
        locality=mean(shares["locality"]),
        fluency=mean(fluent),
        n=len(results),
        by_kind={group: _by_kind(results, group) for group in ("portability", "locality")},
        by_task=_by_task(results),
        ms_per_edit=median(made) if made else 0.0,
        success_teacher_forced=mean(_values(results, lambda r: r.success_teacher_forced)),
        rephrase_teacher_forced=mean(_values(results, lambda r: r.rephrase_teacher_forced)),
        probability=mean(_values(results, lambda r: r.probability)),
        locality_tokens=mean(_values(results, lambda r: r.locality_tokens)),
        success_before=mean([float(r.before) for r in results]),
        fluency_before=mean(_values(results, lambda r: r.fluency_before)),
        counts={group: _probes(results, group) for group in GROUPS} | {"fluency": len(fluent)},
        ci={group: bounds for group in GROUPS if (bounds := interval(shares[group]))},
        erasure=_erasure(results),
        failed=sum(bool(r.failed) for r in results),
        bad_rows=bad_rows,
    )


def _values(results: Iterable[CaseResult], measure: Callable[[CaseResult], float | None]) -> list[float]:
    return [value for r in results if (value := measure(r)) is not None]


def _probes(results: Iterable[CaseResult], group: str, kind: str | None = None) -> int:
    return sum(a.group == group and kind in (None, a.kind) for r in results for a in r.answers)


def _by_kind(results: Sequence[CaseResult], group: Group) -> dict[str, Measure]:
    kinds = dict.fromkeys(a.kind for r in results for a in r.answers if a.group == group)
    out = {}
    for kind in kinds:
        values = [value for r in results if (value := r.share_of(group, kind)) is not None]
        out[kind] = Measure(value=mean(values), n=len(values), probes=_probes(results, group, kind))
    return out


def _by_task(results: Sequence[CaseResult]) -> dict[str, TaskSummary]:
    out = {}
    for task in dict.fromkeys(r.task for r in results):
        chosen = [r for r in results if r.task == task]
        means = {group: mean([v for r in chosen if (v := r.share(group)) is not None]) for group in GROUPS}
        out[task] = TaskSummary(**means, n=len(chosen))
    return out


def _erasure(results: Sequence[CaseResult]) -> Erasure | None:
    erased = [a for r in results if r.kind is Kind.ERASE for a in r.answers if a.group in ("success", "rephrase")]
    if not erased:
        return None
    refused = sum(a.passed for a in erased)
    return Erasure(refusal=refused / len(erased), leak=sum(a.leaked for a in erased) / len(erased), n=len(erased))


R = TypeVar("R", bound=BaseModel)


class Record(Generic[R]):
    """A JSON-lines file of results, each under a key that tells model and method."""

    def __init__(self, path: Path | None, key: str, kind: type[R]) -> None:
        self._path = path
        self._key = key
        self._kind = kind

    def read(self) -> Iterator[R]:
        """The results under this key; a last line cut off by a crash is left out and its case run again."""
        if self._path is None or not self._path.exists():
            return
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                if entry["key"] == self._key:
                    yield self._kind.model_validate(entry["result"])
            except (json.JSONDecodeError, KeyError, TypeError, ValidationError):
                continue

    def append(self, result: R) -> None:
        """Write one result. Raises `StorageError` when the file cannot be written."""
        if self._path is None:
            return
        line = json.dumps({"key": self._key, "result": result.model_dump(mode="json")}, ensure_ascii=False)
        try:
            with self._path.open("ab+") as file:
                file.seek(max(file.tell() - 1, 0))
                cut_off = file.read(1) not in (b"", b"\n")
                file.write((("\n" if cut_off else "") + line + "\n").encode())
        except OSError as error:
            raise StorageError(f"The results file {self._path} cannot be written: {error}.") from error
