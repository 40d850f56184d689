"""The results of jobs in words and numbers, for readers who see no structured content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ketools.core.jobs import COMPARE_METHODS, CONSOLIDATE, EVALUATE_SPACE


def summary_of(kind: str, result: Mapping[str, Any]) -> str:
    """What a finished job found; an empty text for a kind that is not known here."""
    tell = {
        CONSOLIDATE: _consolidation,
        EVALUATE_SPACE: _space_evaluation,
        COMPARE_METHODS: _method_comparison,
    }.get(kind)
    return tell(result) if tell is not None and result else ""


def _consolidation(result: Mapping[str, Any]) -> str:
    kept = dict(result.get("kept", {}))
    total = result["consolidated"] + len(kept)
    head = f"{result['consolidated']} of {total} notes moved into the weights by {result.get('method', 'a method')}."
    return " ".join([head, *(f"{edit_id} stays a note: {why}" for edit_id, why in kept.items())])


def _space_evaluation(result: Mapping[str, Any]) -> str:
    failing = dict(result.get("failing", {}))
    erased = f", {result['erased']} erasures left out" if result.get("erased") else ""
    head = (
        f"Version {result['version']}: {result['n']} edits{erased}. Success {_measure(result['success'])}, "
        f"locality {_measure(result['locality'])}, accepted {result['accepted']['value'] or 0:.2f}."
    )
    rows = [f"{edit_id} fails: {why}" for edit_id, why in failing.items()]
    return " ".join([head, *(rows or ["All hold."] * bool(result["n"]))])


def _method_comparison(result: Mapping[str, Any]) -> str:
    return " ".join([f"Recommended: {result['recommended']}.", *result["reasons"]])


def _measure(measure: Mapping[str, Any]) -> str:
    """A mean with its 95% interval and the number of prompts."""
    if measure["value"] is None:
        return "unknown"
    ci = measure.get("ci")
    within = f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci else ""
    return f"{measure['value']:.2f}{within} over {measure['probes']} prompts"
