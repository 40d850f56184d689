"""What the functions of ketools answer: typed, JSON-able, each able to say itself in one line."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.evidence import Evidence, Timings


class Result(BaseModel):
    """Base of every result. `line()` is what a person or an agent reads; the fields are for programs."""

    model_config = ConfigDict(frozen=True)

    def line(self) -> str:
        """One short line for people and agents."""
        return self.__class__.__name__


class EditResult(Result):
    """What became of one edit. `verified` is true only after the serving engine gave the new answer."""

    edit_id: str | None = Field(description="Handle for show_edit, evaluate_edit and undo_edit.")
    status: Literal["committed", "refused", "dry_run", "failed"]
    verified: bool
    space: str
    version: int | None = Field(description="The space's version that holds the edit.")
    method: str = Field(description="The method that made what now serves.")
    before: str = Field(description="The model's answer to the prompt before the edit.")
    after: str = Field(description="The model's answer with the edit.")
    evidence: Evidence | None = None
    supersedes: tuple[str, ...] = Field(default=(), description="Live edits of the same fact it replaced.")
    conflicts: tuple[str, ...] = Field(default=(), description="What disagrees with it, in words.")
    job_id: str | None = Field(default=None, description="Background consolidation; see job_status.")
    created_space: bool = False
    timings: Timings = Timings()
    reason: str = ""
    next: str = Field(default="", description="What to call next.")

    def line(self) -> str:
        numbers = ""
        if self.evidence is not None:
            e = self.evidence
            numbers = (
                f" success {e.success:.2f} over {e.success_n} phrasings,"
                f" locality {e.locality:.2f} over {e.locality_n} probes."
            )
        state = f"{self.status}, {'verified' if self.verified else 'NOT verified'}"
        why = f" {self.reason}" if self.reason else ""
        return f"{self.edit_id or 'edit'} {state} in {self.space} by {self.method}.{numbers}{why} {self.next}".strip()


class BatchResult(Result):
    """What became of a batch; `results[i]` belongs to the i-th fact given."""

    results: tuple[EditResult, ...]
    committed: int
    refused: int
    failed: int
    version: int | None
    next: str = ""

    def line(self) -> str:
        return (
            f"{self.committed} of {len(self.results)} edits committed, {self.refused} refused, "
            f"{self.failed} failed. {self.next}"
        ).strip()


class Answer(Result):
    """What the served model says in a space, and which edits' notes were put before it."""

    answer: str
    space: str
    version: int
    notes_used: tuple[str, ...] = ()
    fingerprint: str | None = Field(
        default=None, description="SHA-256 of the answer's token log probabilities, when asked for."
    )

    def line(self) -> str:
        return self.answer


class EditView(Result):
    """One row of the journal. An erased fact shows no text, only its keyed hash."""

    edit_id: str
    space: str
    kind: str
    method: str
    outcome: str
    live: bool
    created_at: str = Field(description="ISO 8601, UTC.")
    principal: str
    fact: str = Field(description="The edit as a sentence, or a keyed hash for an erased fact.")
    evidence: Evidence | None = None
    reason: str = ""

    def line(self) -> str:
        return f"{self.edit_id} [{self.outcome}{', live' if self.live else ''}] {self.space}: {self.fact}"


class EditPage(Result):
    """A page of edits, newest first; pass `next_cursor` back for the next page."""

    edits: tuple[EditView, ...]
    next_cursor: str | None = None

    def line(self) -> str:
        return "\n".join(e.line() for e in self.edits) or "No edits."


class UndoResult(Result):
    """An edit was taken off. `layer_hash` equals that of a layer that never had it."""

    edit_id: str
    space: str
    version: int
    layer_hash: str
    brought_back: tuple[str, ...] = ()
    was_superseding: tuple[str, ...] = ()
    next: str = ""

    def line(self) -> str:
        back = f" Brought back {', '.join(self.brought_back)}." if self.brought_back else ""
        return f"Undid {self.edit_id}; {self.space} is at version {self.version}.{back} {self.next}".strip()


class SpaceView(Result):
    """A space: its parent, head version and how many edits are live in it."""

    name: str
    parent: str | None
    owner: str
    version: int
    live: int
    layer_hash: str

    def line(self) -> str:
        return f"{self.name} v{self.version}: {self.live} live edits (parent {self.parent or 'none'})"


class SpaceList(Result):
    """The spaces that the caller may see."""

    spaces: tuple[SpaceView, ...]

    def line(self) -> str:
        return "\n".join(s.line() for s in self.spaces) or "No spaces."


class SpaceDiff(Result):
    """How two spaces differ: by their live edits and, if asked, by their answers."""

    a: str
    b: str
    only_a: tuple[EditView, ...]
    only_b: tuple[EditView, ...]
    answers: tuple[dict[str, str], ...] = Field(
        default=(), description="Per prompt asked: prompt, a, b (the greedy answers)."
    )

    def line(self) -> str:
        differing = sum(row["a"] != row["b"] for row in self.answers)
        asked = f"; {differing} of {len(self.answers)} answers differ" if self.answers else ""
        return f"{len(self.only_a)} edits only in {self.a}, {len(self.only_b)} only in {self.b}{asked}."


class JobView(Result):
    """Long work in the background."""

    job_id: str
    kind: str
    space: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    message: str = ""
    result: dict[str, Any] = Field(default_factory=dict)

    def line(self) -> str:
        return f"{self.job_id} {self.kind}: {self.state}, {self.progress:.0%}. {self.message}".strip()


Configuration = Literal["calibrated", "paper", "default"]


class MethodView(Result):
    """One editing method.

    `configuration`: calibrated for this model, the papers' for models of its shape (not measured here), or the
    method's defaults.
    """

    name: str
    summary: str
    phase: str
    kinds: tuple[str, ...]
    source: str
    configuration: Configuration

    def line(self) -> str:
        return f"{self.name} ({self.phase}): {self.summary}"


class MethodList(Result):
    """The methods that `method=` accepts; `auto` picks among them."""

    methods: tuple[MethodView, ...]

    def line(self) -> str:
        return "\n".join(m.line() for m in self.methods)
