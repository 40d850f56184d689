"""What verification measured of one edit, and how long its parts took."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProbeResult(BaseModel):
    """How one probe came out on the serving engine."""

    model_config = ConfigDict(frozen=True)

    prompt: str
    kind: str
    chat: bool
    expected: str
    answer: str
    passed: bool


class Evidence(BaseModel):
    """What verification measured on the serving engine, before against after.

    `success`: share of phrasings whose greedy answer is the target (exact match, n = `success_n`).
    `locality`: share of locality probes whose greedy answer is what it was (n = `locality_n`).
    `probability`: mean probability of the target given the edit's own phrasings, teacher-forced.
    """

    model_config = ConfigDict(frozen=True)

    success: float = Field(ge=0, le=1)
    success_n: int = Field(ge=0)
    locality: float = Field(ge=0, le=1)
    locality_n: int = Field(ge=0)
    probability: float = Field(default=0.0, ge=0, le=1)
    direct: bool = True
    """Whether the edit's own prompt, in the form it was given, now gives the target."""
    leak: float | None = None
    """Erasure only: share of leak probes whose answer still contains what was erased."""
    residual: float = Field(default=0.0, ge=0)
    """Share of the layer's squared weight change that the serving engine could not represent (its rank limit)."""
    failures: tuple[ProbeResult, ...] = ()


class Timings(BaseModel):
    """Where the time of one edit went, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    compute_ms: float = 0.0
    verify_ms: float = 0.0
    journal_ms: float = 0.0
    swap_ms: float = 0.0
    total_ms: float = 0.0
