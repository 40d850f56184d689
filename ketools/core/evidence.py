"""What verification measured of one edit, and how long its parts took."""

from __future__ import annotations

from typing import Literal

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


Source = Literal["request", "caller", "provider", "form", "bank", "journal", "auxiliary"]
"""Where a probe comes from: the edit's own prompt; the caller; a knowledge provider's templates; the prompt in another
form; the bank of everyday facts; other live edits; an auxiliary model."""
Strength = Literal["strong", "weak"]
WORDINGS, UNTOUCHED = 2, 4
"""What strong evidence asks at least: wordings beside the edit's own prompt, and locality probes."""


class Share(BaseModel):
    """How many of the probes of one kind and source came out as they should."""

    model_config = ConfigDict(frozen=True)

    kind: str
    source: Source
    passed: int = Field(ge=0)
    n: int = Field(ge=1)


class Evidence(BaseModel):
    """What verification measured on the serving engine, before against after.

    `success`: share of phrasings whose greedy answer states the target in its first statement (n = `success_n`).
    `locality`: share of locality probes whose first statement is what it was (n = `locality_n`).
    `probability`: mean probability of the target given the edit's own phrasings, teacher-forced.
    `shares`: the same by kind and source of the probes. `strength`: "weak" where too little was asked, see `WORDINGS`.
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
    shares: tuple[Share, ...] = ()
    strength: Strength = "strong"


class Timings(BaseModel):
    """Where the time of one edit went, in milliseconds."""

    model_config = ConfigDict(frozen=True)

    compute_ms: float = 0.0
    verify_ms: float = 0.0
    journal_ms: float = 0.0
    swap_ms: float = 0.0
    total_ms: float = 0.0
