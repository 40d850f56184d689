"""Long looks at a space, as jobs: every live edit verified again, and methods compared on the same facts.

Neither commits anything: edits are compared in layers that only these jobs see.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from pydantic import BaseModel, ConfigDict

from ketools.core.errors import Diverged, InvalidRequest
from ketools.core.evidence import Evidence
from ketools.core.jobs import Handler
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest, Kind
from ketools.editing.pipeline import EditPipeline, with_old_answer
from ketools.evaluation.metrics import interval, mean
from ketools.evaluation.results import Measure
from ketools.knowledge.probing import with_relation
from ketools.layers.composition import EditLayer, LiveEdit
from ketools.layers.store import content_hash

FAILING_TOLD = 50


class Standing(BaseModel):
    """How edits stand on the serving engine: means over edits with 95% bootstrap intervals.

    `accepted`: share that the policy would accept. `failing`: edit or prompt to why, at most fifty of them.
    """

    model_config = ConfigDict(frozen=True)

    n: int
    success: Measure
    locality: Measure
    probability: Measure
    accepted: Measure
    failing: dict[str, str]


class MethodStanding(Standing):
    """One method on the facts of a comparison; `ms`: median time of an edit, verification left out."""

    method: str
    ms: float


def space_evaluation(pipeline: EditPipeline) -> Handler:
    """The job of verifying every live edit of a space again; erased facts are told by their stored evidence.

    `not_served`: edits that were made for another model, or are of an unknown kind, and why.
    """

    def run(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        records = pipeline.journal.live_edits([space])[space]
        layer = pipeline.spaces.layer(space)
        found: list[tuple[str, Evidence, str]] = []
        erased = 0
        not_served: dict[str, str] = {}
        for i, record in enumerate(records):
            progress(i, len(records), f"verifying {record.id}")
            if objection := pipeline.spaces.objection(record):
                not_served[record.id] = objection
                continue
            if record.kind is Kind.ERASE:
                erased += 1
                continue
            request = EditRequest.model_validate(record.request)
            evidence = pipeline.verifier.verify(request, layer.without(record.id), layer).evidence
            found.append((record.id, evidence, pipeline.policy.objection(request, evidence)))
        version = pipeline.journal.head(space).version
        return {
            "version": version,
            "erased": erased,
            "not_served": not_served,
            **_standing(found).model_dump(mode="json"),
        }

    return run


def method_comparison(pipeline: EditPipeline) -> Handler:
    """The job of making the same edits by several methods, each alone on top of the space's layer.

    Arguments: `facts`, the requests' fields, and `methods`. A method is told what the pipeline tells it: the
    relation and the old answer. An edit that diverges or that a method cannot make counts as refused.
    """

    def run(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        names, layer = list(arguments["methods"]), pipeline.spaces.layer(space)
        requests = [_known(pipeline, EditRequest.model_validate(fact), layer) for fact in arguments["facts"]]
        found = []
        for i, name in enumerate(names):

            def report(done: int, total: int, text: str, i: int = i, name: str = name) -> None:
                progress(i * len(requests) + done, len(names) * len(requests), f"{name}: {text}")

            found.append(_method(pipeline, name, requests, layer, report))
        best, reasons = recommended(found)
        methods = {one.method: one.model_dump(mode="json", exclude={"method"}) for one in found}
        return {"recommended": best, "reasons": reasons, "methods": methods}

    return run


def _known(pipeline: EditPipeline, request: EditRequest, layer: EditLayer) -> EditRequest:
    """The request as it reaches a method on the pipeline of an edit."""
    request = with_relation(request)
    return with_old_answer(request, pipeline.verifier.direct_answer(request, layer))


def _method(
    pipeline: EditPipeline, name: str, requests: Sequence[EditRequest], layer: EditLayer, progress: Progress
) -> MethodStanding:
    found: list[tuple[str, Evidence, str]] = []
    times = []
    for i, request in enumerate(requests):
        progress(i, len(requests), request.prompt)
        begin = time.perf_counter()
        try:
            made = pipeline.editor.compute(name, [request], layer)[0]
        except (Diverged, InvalidRequest) as error:
            found.append((request.prompt, Evidence(success=0, success_n=0, locality=1, locality_n=0), str(error)))
            continue
        times.append(1000 * (time.perf_counter() - begin))
        after = layer.with_edits(LiveEdit(f"compared-{i}", content_hash(made), made))
        evidence = pipeline.verifier.verify(request, layer, after).evidence
        found.append((request.prompt, evidence, pipeline.policy.objection(request, evidence)))
    standing = _standing(found).model_dump()
    return MethodStanding(method=name, ms=median(times) if times else 0.0, **standing)


def _standing(found: Sequence[tuple[str, Evidence, str]]) -> Standing:
    failing = [(name, why) for name, _, why in found if why]
    return Standing(
        n=len(found),
        success=_measure([e.success for _, e, _ in found], sum(e.success_n for _, e, _ in found)),
        locality=_measure([e.locality for _, e, _ in found], sum(e.locality_n for _, e, _ in found)),
        probability=_measure([e.probability for _, e, _ in found], len(found)),
        accepted=_measure([float(not why) for *_, why in found], len(found)),
        failing=dict(failing[:FAILING_TOLD]),
    )


def _measure(values: Sequence[float], probes: int) -> Measure:
    return Measure(value=mean(values), n=len(values), probes=probes, ci=interval(values))


def recommended(found: Sequence[MethodStanding]) -> tuple[str, list[str]]:
    """The method to take, and why: most edits accepted, then success and locality, then time."""
    ranked = sorted(found, key=_merit, reverse=True)
    best = ranked[0]
    reasons = [_told(best)]
    for other in ranked[1:]:
        even = _merit(other)[:2] == _merit(best)[:2]
        reasons.append(f"{'As good, but slower: ' if even else 'Behind: '}{_told(other)}")
    if len(ranked) > 1 and _overlap(best.accepted, ranked[1].accepted):
        reasons.append(f"With {best.n} facts the intervals of the first two overlap; more facts would tell them apart.")
    return best.method, reasons


def _merit(one: MethodStanding) -> tuple[float, float, float]:
    quality = (one.success.value or 0.0) + (one.locality.value or 0.0)
    return round(one.accepted.value or 0.0, 6), round(quality, 6), -one.ms


def _told(one: MethodStanding) -> str:
    accepted = round((one.accepted.value or 0.0) * one.n)
    return (
        f"{one.method}: {accepted} of {one.n} edits accepted, success {one.success.value or 0:.3f}, "
        f"locality {one.locality.value or 0:.3f}, {one.ms:.0f} ms an edit."
    )


def _overlap(a: Measure, b: Measure) -> bool:
    return a.ci is not None and b.ci is not None and a.ci[0] <= b.ci[1] and b.ci[0] <= a.ci[1]
