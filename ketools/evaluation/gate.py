"""Requirements on a run, as a regression gate states them: `success>=0.95,locality.Neighborhood>=0.98,zsre.kl<=0.1`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt

from ketools.core.errors import InvalidRequest
from ketools.evaluation.cases import EditCase
from ketools.evaluation.results import MEASURES, Summary
from ketools.evaluation.run import MethodRun

_COMPARISONS = {">=": ge, "<=": le, ">": gt, "<": lt}
_NUMBER = r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?"
_COSTS = ("ms_per_edit", "peak_mb", "peak_mb_max")
_COUNTS = ("failed", "bad_rows", "n")
_PERPLEXITIES = ("perplexity", "perplexity_before", "perplexity_ratio")
_WHOLE = (*MEASURES, *_PERPLEXITIES, *_COSTS, *_COUNTS)
_OF_TASK = (*MEASURES, "n")


@dataclass(frozen=True)
class Value:
    """What a run has under a name, over `n` cases (a perplexity: tokens); None where nothing was measured."""

    value: float | None
    n: int


@dataclass(frozen=True)
class Requirement:
    """A bound on one value, by its name: a measure, `GROUP.KIND`, or `TASK.MEASURE`."""

    name: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.name}{self.comparison}{self.bound:g}"

    def missed(self, values: Mapping[str, Value]) -> str:
        """What the values have instead, or an empty string. What was not measured misses every bound."""
        found = values.get(self.name)
        if found is None or found.value is None:
            return f"{self}: nothing was measured"
        return (
            "" if _COMPARISONS[self.comparison](found.value, self.bound) else f"{self}: {found.value:.4g}, n {found.n}"
        )


@dataclass(frozen=True)
class Names:
    """What may be required of a run: measures of the whole, of each kind of portability and locality, of each task."""

    kinds: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @staticmethod
    def of(cases: Sequence[EditCase]) -> Names:
        """The names that a run over these cases has values for."""
        return Names(tuple(dict.fromkeys(_kinds(cases))), tuple(dict.fromkeys(case.task for case in cases)))

    def __contains__(self, name: str) -> bool:
        return name in _WHOLE or name in self.kinds or name in {f"{t}.{m}" for t in self.tasks for m in _OF_TASK}

    def __str__(self) -> str:
        tasks = [f"TASK.MEASURE with a task of {', '.join(self.tasks)}"] if self.tasks else []
        return "; ".join([", ".join(_WHOLE), *([", ".join(self.kinds)] if self.kinds else []), *tasks])


def _kinds(cases: Iterable[EditCase]) -> Iterable[str]:
    for case in cases:
        for group, kinds in (("portability", case.portability), ("locality", case.locality)):
            yield from (f"{group}.{probe.kind}" for probes in kinds.values() for probe in probes)


def requirements(text: str, names: Names) -> list[Requirement]:
    """Read a comma-separated list. Raises `InvalidRequest` for what is no requirement or not among the names."""
    return [_requirement(part.strip(), names) for part in text.split(",") if part.strip()]


def _requirement(text: str, names: Names) -> Requirement:
    match = re.fullmatch(rf"([^<>=]+?)\s*(>=|<=|>|<)\s*({_NUMBER})", text)
    if match is None or match[1] not in names:
        raise InvalidRequest(f"{text!r} is no requirement. Write NAME>=NUMBER (or <=, >, <), with a name of: {names}.")
    return Requirement(match[1], match[2], float(match[3]))


def values_of(summary: Summary) -> dict[str, Value]:
    """Everything that may be required of a method, by name."""
    found = {name: Value(getattr(summary, name), summary.cases.get(name, 0)) for name in MEASURES}
    found |= {name: Value(getattr(summary, name), summary.n) for name in (*_COSTS, *_COUNTS)}
    for group, kinds in summary.by_kind.items():
        found |= {f"{group}.{kind}": Value(measure.value, measure.n) for kind, measure in kinds.items()}
    for task, one in summary.by_task.items():
        found |= {f"{task}.{name}": Value(getattr(one, name), one.n) for name in _OF_TASK}
    return found | _perplexities(summary)


def _perplexities(summary: Summary) -> dict[str, Value]:
    """Of the texts after the last edit of a batch or a sequence, before its first, and the one over the other."""
    if not isinstance(summary, MethodRun) or not summary.checkpoints:
        return {}
    last = summary.checkpoints[-1]
    if last.perplexity is None or last.perplexity_before is None:
        return {}
    values = (last.perplexity, last.perplexity_before, last.perplexity / last.perplexity_before)
    return {name: Value(value, last.tokens) for name, value in zip(_PERPLEXITIES, values, strict=True)}


def misses(wanted: Sequence[Requirement], summaries: Mapping[str, Summary]) -> list[str]:
    """Every requirement that a method missed, in words; every method must meet all of them."""
    values = {name: values_of(summary) for name, summary in summaries.items()}
    found = [(name, r.missed(of)) for name, of in values.items() for r in wanted]
    return [f"{name}: {what}" for name, what in found if what]
