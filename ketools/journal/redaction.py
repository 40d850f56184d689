"""Erasures carry the secret in their request: nothing of it may reach the journal, a log or a message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ketools.core.evidence import Evidence
from ketools.core.requests import REFUSAL, EditRequest, Kind
from ketools.knowledge.relations import RELATIONS

REDACTED = "[redacted]"


def redact_request(kind: Kind, request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as the journal keeps it: an erasure loses everything that was written freely."""
    if kind is not Kind.ERASE:
        return dict(request)
    relation, target = request.get("relation"), request.get("target_new")
    return {
        "kind": str(kind),
        "subject": REDACTED,
        "prompt": REDACTED,
        "target_new": REFUSAL if target == REFUSAL else REDACTED,
        "target_old": None if request.get("target_old") is None else REDACTED,
        "relation": relation if relation in RELATIONS else None,
        "trait": None,
        "rephrases": [],
        "probes": [],
    }


def redact_evidence(evidence: Evidence) -> Evidence:
    """Evidence of an erasure without the texts of its probes; the numbers stay."""
    hidden = {"prompt": REDACTED, "expected": REDACTED, "answer": REDACTED}
    return evidence.model_copy(update={"failures": tuple(f.model_copy(update=hidden) for f in evidence.failures)})


def scrub(text: str, request: EditRequest) -> str:
    """A message for people without what an erasure erases; other kinds pass unchanged."""
    if request.kind is not Kind.ERASE:
        return text
    for secret in sorted(set(_secrets(request)), key=len, reverse=True):
        text = re.sub(re.escape(secret), REDACTED, text, flags=re.IGNORECASE)
    return text


def _secrets(request: EditRequest) -> Iterable[str]:
    yield request.subject
    yield request.prompt
    yield from request.rephrases
    if request.target_old is not None:
        yield request.target_old
    if request.target_new != REFUSAL:
        yield request.target_new
    for probe in request.probes:
        yield probe.prompt
        if probe.answer is not None and probe.answer != REFUSAL:
            yield probe.answer
