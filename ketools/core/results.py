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
    not_served: str = Field(default="", description="Why a live edit does not act on the model at hand.")

    def line(self) -> str:
        live = ", live but not served" if self.not_served else ", live" if self.live else ""
        why = f" ({self.not_served})" if self.not_served else ""
        return f"{self.edit_id} [{self.outcome}{live}] {self.space}: {self.fact}{why}"


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


HopSource = Literal["model", "edit"]


class Hop(BaseModel):
    """One answered step: `edit_id` and `fact` are there when an edit gave the answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str
    source: HopSource
    edit_id: str | None = None
    fact: str | None = None


class MultihopAnswer(Result):
    """The answer to a question of several hops, with the chain that led there.

    When a step failed, `answer` is that of the last step that did not and `complete` is false.
    """

    question: str
    answer: str | None = Field(description="The final answer; if not `complete`, the best partial one.")
    written: str | None = Field(default=None, description="The answer as it was written, marks and all.")
    complete: bool
    hops: tuple[Hop, ...] = ()
    affected: bool = Field(default=False, description="Whether any edit took part in the answer.")
    citations: tuple[str, ...] = Field(default=(), description="Ids of the edits used, in the order of the hops.")
    conflicts: tuple[str, ...] = Field(default=(), description="Edits that contradict each other, in words.")
    malformed: int = Field(default=0, description="Generations that did not follow the form.")
    generations: int = Field(default=0, description="How often the model was asked.")
    failed_step: int | None = Field(default=None, description="The step (from 1) that failed, if one did.")
    reason: str = Field(default="", description="Why the chain is not complete, or what to know about it.")
    agent: str = ""
    space: str = ""
    version: int = 0

    def line(self) -> str:
        used = f"edits used: {', '.join(self.citations)}" if self.affected else "not affected by any edit"
        chain = " -> ".join(f"{hop.question} {hop.answer}" for hop in self.hops)
        why = f" {self.reason}" if self.reason else ""
        state = "" if self.complete else f" Incomplete: step {self.failed_step} failed."
        return f"{self.answer or 'No answer.'} ({used}; {chain or 'no chain'}).{state}{why}"


State = Literal["hidden", "ffn", "attention"]
"""What causal tracing restores: a block's output, or what its down projection or attention puts out."""

_NAMES: dict[State, str] = {"ffn": "the FFN", "attention": "attention", "hidden": "the block's output"}


class Reading(BaseModel):
    """The logit lens after one block; `rank` 0 is the likeliest token."""

    model_config = ConfigDict(frozen=True)

    block: int
    says: str
    probability: float = Field(ge=0, le=1)
    rank: int = Field(ge=0)


class Location(Result):
    """Where an answer's first token comes from."""

    prompt: str
    subject: str
    answer: str
    tokens: tuple[str, ...] = Field(description="The prompt's tokens.")
    clean: float = Field(ge=0, le=1, description="Probability of the answer's first token.")
    corrupted: float = Field(ge=0, le=1, description="The same with noise on the subject.")
    effects: dict[State, list[list[float]]] = Field(
        description="Per kind of state, block and token: what putting it back adds to the corrupted probability."
    )
    strongest: dict[State, tuple[int, int]] = Field(description="Per kind: block and token of the largest effect.")
    lens: tuple[Reading, ...] = Field(description="The logit lens; empty where no norm stands before the head.")

    def line(self) -> str:
        """The result in a sentence or two."""
        kind: State = "ffn" if "ffn" in self.strongest else next(iter(self.strongest))
        block, token = self.strongest[kind]
        return (
            f"{self.answer.strip()!r} has probability {self.clean:.3f}, and {self.corrupted:.3f} with the subject "
            f"corrupted; {_NAMES[kind]} matters most at block {block}, token {self.tokens[token].strip()!r}."
        )
