"""Where the untouched model reads the facts of a run: figures 8 and 9 of the survey, section 5.2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ketools.core.progress import Progress, quiet
from ketools.core.requests import FACTS
from ketools.core.results import Location, State
from ketools.editing.editor import Editor
from ketools.evaluation.cases import CaseProbe, EditCase, Probes
from ketools.evaluation.locating import Similarity, locate, similarity

Role = Literal["the fact", "goes on from it", "another fact"]

KIND: State = "ffn"
SAMPLES = 4
"""Corruptions that an effect is averaged over."""


class Origins(BaseModel):
    """Causal traces of the FFN on the untouched model.

    `phrasings`, `chains`: whether two phrasings of a fact, or a fact and a question of several steps that goes on from
    it, are read in the same blocks more than any two facts are; None where no case has both.
    `example`: the fact of one case, the question that goes on from it, and another fact of its subject.
    """

    model_config = ConfigDict(frozen=True)

    phrasings: Similarity | None
    chains: Similarity | None
    example: dict[Role, Location]


def origins(editor: Editor, cases: Sequence[EditCase], n: int, progress: Progress = quiet) -> Origins | None:
    """Trace the facts of `n` cases, those first of which most is asked and whose old answer is known.

    None when no case asks for a fact in a second way. Raises what `progress` raises.
    """
    facts = [case for case in cases if case.request.kind in FACTS]  # no secret is told here
    able = [case for case in facts if _naming(case, (case.direct,)) and (_phrasing(case) or _onward(case))]
    chosen = sorted(able, key=lambda case: (-len(_example(case)), case.request.target_old is None))[:n]
    if not chosen:
        return None
    numbers = count()

    @cache
    def trace(probe: CaseProbe, subject: str) -> Location:
        progress(next(numbers), 3 * len(chosen) + 1, f"tracing {probe.prompt}")
        return locate(editor, probe.rendered(), subject, samples=SAMPLES, states=(KIND,))

    def alike(other: Callable[[EditCase], Probes]) -> Similarity | None:
        groups = [(case.request.subject, (case.direct, *other(case))) for case in chosen if other(case)]
        return similarity([[trace(p, subject) for p in group] for subject, group in groups], KIND) if groups else None

    shown = chosen[0]
    return Origins(
        phrasings=alike(_phrasing),
        chains=alike(_onward),
        example={role: trace(probe, shown.request.subject) for role, probe in _example(shown).items()},
    )


def _example(case: EditCase) -> dict[Role, CaseProbe]:
    others = _naming(case, case.locality.get("Relation_Specificity", ()))
    asked: dict[Role, Probes] = {"the fact": (case.direct,), "goes on from it": _onward(case), "another fact": others}
    return {role: probes[0] for role, probes in asked.items() if probes}


def _phrasing(case: EditCase) -> Probes:
    """The fact in other words, if the case asks so."""
    return _naming(case, case.rephrase)[:1]


def _onward(case: EditCase) -> Probes:
    """A question that goes on from the fact, if the case asks one."""
    return _naming(case, case.portability.get("Reasoning", ()))[:1]


def _naming(case: EditCase, probes: Probes) -> Probes:
    """Those that name the subject: only these can be traced."""
    return tuple(probe for probe in probes if case.request.subject.lower() in probe.prompt.lower())
