"""Requirements on a run, as a regression gate states them: `success>=0.95,locality>=0.98`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt

from ketools.errors import InvalidRequest
from ketools.evaluation.results import MEASURES, Summary

_COMPARISONS = {">=": ge, "<=": le, ">": gt, "<": lt}
_NAMES = (*MEASURES, "ms_per_edit", "peak_mb", "peak_mb_max", "failed", "bad_rows", "n")


@dataclass(frozen=True)
class Requirement:
    """A bound on one measure."""

    measure: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.measure}{self.comparison}{self.bound:g}"

    def missed(self, summary: Summary) -> str:
        """What the summary has instead, or an empty string. A measure without cases misses every bound."""
        value = getattr(summary, self.measure)
        if value is None:
            return f"{self}: nothing was measured"
        return "" if _COMPARISONS[self.comparison](value, self.bound) else f"{self}: {value:.4g}, n {summary.n}"


def requirements(text: str) -> list[Requirement]:
    """Read a comma-separated list. Raises `InvalidRequest` for what is no requirement."""
    return [_requirement(part.strip()) for part in text.split(",") if part.strip()]


def _requirement(text: str) -> Requirement:
    match = re.fullmatch(r"(\w+)\s*(>=|<=|>|<)\s*(-?(?:\d+(?:\.\d*)?|\.\d+)(?:e-?\d+)?)", text)
    if match is None or match[1] not in _NAMES:
        raise InvalidRequest(
            f"{text!r} is no requirement. Write MEASURE>=NUMBER (or <=, >, <), with a measure of {', '.join(_NAMES)}."
        )
    return Requirement(match[1], match[2], float(match[3]))


def misses(wanted: Sequence[Requirement], summaries: Mapping[str, Summary]) -> list[str]:
    """Every requirement that a method missed, in words; every method must meet all of them."""
    found = [(name, r.missed(summary)) for name, summary in summaries.items() for r in wanted]
    return [f"{name}: {what}" for name, what in found if what]
