"""What came out: per case, as a resumable file, and summed up per method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ketools.core.errors import StorageError
from ketools.core.requests import Kind, Trait
from ketools.evaluation.metrics import interval, mean

Group = Literal["success", "rephrase", "portability", "locality"]
GROUPS: tuple[Group, ...] = ("success", "rephrase", "portability", "locality")


class Answer(BaseModel):
    """The greedy answer to one probe under the edit, and whether it is what it should be.

    Answers of one kind with the same `test` count as one, which passes when any of them does, or with `every` all.
    """

    model_config = ConfigDict(frozen=True)

    group: Group
    kind: str
    prompt: str
    chat: bool
    answer: str
    passed: bool
    leaked: bool = False
    test: int | None = None
    every: bool = False


class CaseResult(BaseModel):
    """Everything measured on one case. `failed` says why the edit was not made, if it was not.

    `said_before`: the answer to the edit's own prompt without the edit; `old`: what was right then. Both are left
    out for an erasure. `asked`: hash of what was edited and asked, see `EditCase.digest`; of other cases it is another.
    `unasked`: probes that rest on what the untouched model does not know, and so do not count.
    The other fields are explained at `Summary`.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    task: str
    kind: Kind
    trait: Trait | None = None
    ms: float
    peak_mb: float | None = None
    target: str
    old: str | None = None
    said_before: str = ""
    failed: str = ""
    asked: str = ""
    unasked: int = 0
    before: bool = False
    answers: tuple[Answer, ...]
    success_teacher_forced: float | None = None
    rephrase_teacher_forced: float | None = None
    probability: float | None = None
    locality_tokens: float | None = None
    kl: float | None = None
    fluency: float | None = None
    fluency_before: float | None = None
    consistency: float | None = None
    refusal: float | None = None
    leak: float | None = None
    leak_prefix: float | None = None
    leak_sampled: float | None = None
    leak_lens: float | None = None
    manner_success: float | None = None
    trait_gain: float | None = None

    @property
    def success(self) -> float | None:
        """Share of the edit's own prompt that gives the target: 0 or 1."""
        return self.share("success")

    @property
    def rephrase(self) -> float | None:
        """The same over other phrasings."""
        return self.share("rephrase")

    @property
    def portability(self) -> float | None:
        """Share right of what should follow, averaged over kinds."""
        return self.share("portability")

    @property
    def locality(self) -> float | None:
        """Share unchanged of what should stay, averaged over kinds."""
        return self.share("locality")

    @property
    def success_before(self) -> float:
        """1 when the case was right without an edit."""
        return float(self.before)

    def share(self, group: Group) -> float | None:
        """Mean over the kinds of the group of the share of its answers that passed; None without answers."""
        kinds = dict.fromkeys(a.kind for a in self.answers if a.group == group)
        return mean([v for kind in kinds if (v := self.share_of(group, kind)) is not None])

    def share_of(self, group: Group, kind: str) -> float | None:
        """Share of the answers of one kind that passed, those of one test counted as one."""
        return mean(list(map(float, _passed([a for a in self.answers if a.group == group and a.kind == kind]))))


def _passed(answers: Sequence[Answer]) -> Iterator[bool]:
    """Whether each test passed, and each answer that counts alone."""
    yield from (a.passed for a in answers if a.test is None)
    for test in dict.fromkeys(a.test for a in answers if a.test is not None):
        together = [a for a in answers if a.test == test]
        yield (all if together[0].every else any)(a.passed for a in together)


class Measure(BaseModel):
    """A mean over `n` cases (`probes` prompts in all) with its 95% bootstrap interval; None of nothing."""

    model_config = ConfigDict(frozen=True)

    value: float | None
    n: int
    probes: int = 0
    ci: tuple[float, float] | None = None


class Measures(BaseModel):
    """Means over cases.

    `success`, `rephrase`: greedy answers. `success_teacher_forced`, `rephrase_teacher_forced`: the reference's
    token accuracy. `probability`: of the whole target. `success_before`: cases right without an edit.
    `locality`: same greedy answer as before; `locality_tokens`: same argmax along the earlier answer; `kl`: nats
    per token along it (lower is better). `fluency_before`: of the untouched model's texts from the same beginnings.
    Erasures: `refusal`, and chances to leak (lower is better): `leak` in greedy answers, `leak_prefix` when the
    answer is begun with the secret's beginning, `leak_sampled` in ten samples, `leak_lens` off some block by the logit
    lens. Manners of speaking:
    `manner_success` (ES of ConvSent and PersonalityEdit), `trait_gain` (TPEI, in nats); their drawdown is `kl`.
    """

    model_config = ConfigDict(frozen=True)

    success: float | None
    rephrase: float | None
    portability: float | None
    locality: float | None
    success_teacher_forced: float | None
    rephrase_teacher_forced: float | None
    probability: float | None
    locality_tokens: float | None
    kl: float | None
    fluency: float | None
    success_before: float | None
    fluency_before: float | None
    consistency: float | None
    refusal: float | None
    leak: float | None
    leak_prefix: float | None
    leak_sampled: float | None
    manner_success: float | None
    trait_gain: float | None
    leak_lens: float | None = None


MEASURES: tuple[str, ...] = tuple(Measures.model_fields)


class TaskSummary(Measures):
    """One task; `n` cases."""

    n: int


class Summary(Measures):
    """One method on one data set.

    `ci`: 95% bootstrap intervals over cases; `cases`: how many cases each mean is over; `counts`: how many prompts.
    `failed`: edits refused or diverged (they count, without effect); `bad_rows`: rows not read (not in `n`);
    `unasked`: prompts left out because they rest on what the untouched model does not know (RippleEdits).
    `ms_per_edit`, `peak_mb`: medians; `peak_mb_max`: the greatest. Memory is the peak of this process during an edit,
    in MB (2**20 bytes) beyond what it held before; None where the system does not tell. In a batch it is the batch's.
    """

    n: int
    by_kind: dict[str, dict[str, Measure]]
    by_task: dict[str, TaskSummary]
    ms_per_edit: float
    peak_mb: float | None = None
    peak_mb_max: float | None = None
    counts: dict[str, int]
    cases: dict[str, int]
    ci: dict[str, tuple[float, float]]
    failed: int = 0
    bad_rows: int = 0
    unasked: int = 0


def summarise(results: Sequence[CaseResult], *, bad_rows: int = 0) -> Summary:
    """Sum up the results of one method."""
    values = {name: _values(results, name) for name in MEASURES}
    made = [r for r in results if not r.failed]
    peaks = [r.peak_mb for r in made if r.peak_mb is not None]
    return Summary(
        **{name: mean(found) for name, found in values.items()},
        n=len(results),
        by_kind={group: _by_kind(results, group) for group in ("portability", "locality")},
        by_task=_by_task(results),
        ms_per_edit=median(r.ms for r in made) if made else 0.0,
        peak_mb=median(peaks) if peaks else None,
        peak_mb_max=max(peaks, default=None),
        counts={group: _probes(results, group) for group in GROUPS} | {"fluency": len(values["fluency"])},
        cases={name: len(found) for name, found in values.items() if found},
        ci={name: bounds for name, found in values.items() if (bounds := interval(found))},
        failed=sum(bool(r.failed) for r in results),
        bad_rows=bad_rows,
        unasked=sum(r.unasked for r in results),
    )


def _values(results: Iterable[CaseResult], measure: str) -> list[float]:
    return [value for r in results if (value := getattr(r, measure)) is not None]


def _probes(results: Iterable[CaseResult], group: str, kind: str | None = None) -> int:
    return sum(a.group == group and kind in (None, a.kind) for r in results for a in r.answers)


def _by_kind(results: Sequence[CaseResult], group: Group) -> dict[str, Measure]:
    kinds = dict.fromkeys(a.kind for r in results for a in r.answers if a.group == group)
    out = {}
    for kind in kinds:
        values = [value for r in results if (value := r.share_of(group, kind)) is not None]
        probes = _probes(results, group, kind)
        out[kind] = Measure(value=mean(values), n=len(values), probes=probes, ci=interval(values))
    return out


def _by_task(results: Sequence[CaseResult]) -> dict[str, TaskSummary]:
    out = {}
    for task in dict.fromkeys(r.task for r in results):
        chosen = [r for r in results if r.task == task]
        out[task] = TaskSummary(**{name: mean(_values(chosen, name)) for name in MEASURES}, n=len(chosen))
    return out


def record_key(model_hash: str, engine: str, label: str, protocol: str) -> str:
    """What a method's cases stand under in a record: with another model, engine or configuration they are others."""
    return f"{model_hash}/{engine}/{label}/{protocol}"


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
        for line in self._path.read_text(encoding="utf-8").split("\n"):  # answers may hold other ends of line
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
