"""What the functions of ketools answer: typed, JSON-able, each able to say itself in words."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.brief import clip, few, token_estimate
from ketools.core.errors import some
from ketools.core.evidence import Evidence, Timings

BUDGET = 120
"""How many tokens, by estimate from above, a concise text may have."""
MORE = "more; response_format='detailed' shows all"


class Result(BaseModel):
    """Base of every result. The fields are for programs, the texts for people and language models."""

    model_config = ConfigDict(frozen=True)

    def line(self) -> str:
        """What a caller needs to go on, numbers included, within about 100 tokens."""
        return self.__class__.__name__

    def detail(self) -> str:
        """Everything that is worth reading, however long."""
        return self.line()

    def named(self, model: str) -> Self:
        """The same result with the gateway's names of its spaces; `model`: its name of the base model."""
        return self


class SpaceResult(Result):
    """A result about one space."""

    space: str = ""
    gateway_model: str = Field(default="", description="What a gateway's client names as `model` to get this space.")

    def named(self, model: str) -> Self:
        return self.model_copy(update={"gateway_model": f"{model}@{self.space}"}) if self.space else self

    @property
    def place(self) -> str:
        """The space, and the gateway's name of its model."""
        return f"{self.space} (gateway model {self.gateway_model})" if self.gateway_model else self.space


def shares(evidence: Evidence) -> str:
    """Success, locality and leak with their counts, and how many of the phrasings the caller gave."""
    yours = sum(share.n for share in evidence.shares if share.source == "caller" and share.kind == "rephrase")
    own = f", {yours} of them yours" if yours else ""
    leak = "" if evidence.leak is None else f", leak {evidence.leak:.2f}"
    return (
        f"success {evidence.success:.2f} over {evidence.success_n} phrasings{own}, "
        f"locality {evidence.locality:.2f} over {evidence.locality_n} probes{leak}."
    )


class EditResult(SpaceResult):
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
    suspicious: tuple[str, ...] = Field(default=(), description="What in it looks like an attack: look at the text.")
    next: str = Field(default="", description="What to call next.")

    def line(self) -> str:
        state = f"{self.status}, {'verified' if self.verified else 'NOT verified'}"
        warning = f" Suspicious: it contains {', '.join(self.suspicious)}." if self.suspicious else ""
        head = f"{self.edit_id or 'edit'} {state} in {self.place} by {self.method or 'no method'}.{warning}"
        spare = BUDGET - token_estimate(" ".join([head, self._numbers(), self.next]))
        reason = clip(self.reason, max(spare - 16, 12)) if self.reason else ""
        answers = self._answers(min(30, spare - token_estimate(reason) - 6))
        return " ".join(filter(None, [head, answers, self._numbers(), reason, self.next]))

    def detail(self) -> str:
        parts = [self.line(), self._answers(400), *self.conflicts, self.reason]
        if self.evidence is not None:
            parts += [f"{p.kind} {p.prompt!r}: {p.answer!r}, not {p.expected!r}" for p in self.evidence.failures]
        parts.append(f"{self.timings.total_ms:.0f} ms in all, {self.timings.compute_ms:.0f} ms to compute.")
        return "\n".join(filter(None, parts))

    def _answers(self, tokens: int) -> str:
        if tokens < 4 or not (self.before or self.after):
            return ""
        return (
            f"Answer: {clip(self.before, tokens // 2) or '(hidden)'} -> {clip(self.after, tokens // 2) or '(hidden)'}."
        )

    def _numbers(self) -> str:
        if self.evidence is None:
            return ""
        return shares(self.evidence)


class BatchResult(SpaceResult):
    """What became of a batch; `results[i]` belongs to the i-th fact given."""

    results: tuple[EditResult, ...]
    committed: int
    refused: int
    failed: int
    version: int | None
    next: str = ""

    def line(self) -> str:
        missed = [f"Fact {i}: {clip(row.reason, 20)}" for i, row in self._missed()]
        head = (
            f"{self.committed} of {len(self.results)} edits committed in {self.place}, {self.refused} refused, "
            f"{self.failed} failed."
        )
        return " ".join([head, *few(missed, 55, "more that failed"), self.next]).strip()

    def detail(self) -> str:
        return "\n".join([self.line(), *(f"{i}: {row.line()}" for i, row in enumerate(self.results))])

    def _missed(self) -> list[tuple[int, EditResult]]:
        return [(i, row) for i, row in enumerate(self.results) if row.status in ("failed", "refused")]


class Answer(SpaceResult):
    """What the served model says in a space, and which edits' notes were put before it."""

    answer: str
    space: str
    version: int
    notes_used: tuple[str, ...] = ()
    notes_why: tuple[str, ...] = Field(
        default=(), description="For each of notes_used, what decided that the question asks for it."
    )
    fingerprint: str | None = Field(
        default=None, description="SHA-256 of the answer's token log probabilities, when asked for."
    )

    def line(self) -> str:
        return self.answer if self.fingerprint is None else f"{self.answer}\nfingerprint {self.fingerprint}"

    def detail(self) -> str:
        whys = self.notes_why or ("",) * len(self.notes_used)
        used = [f"note {note} used{': ' if why else ''}{why}" for note, why in zip(self.notes_used, whys, strict=False)]
        return "\n".join([self.line(), f"{self.place}, version {self.version}", *(used or ["no notes used"])])


class EditView(SpaceResult):
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
    client: str = Field(default="", description="The program that asked for it.")
    why: str = Field(default="", description="The reason that was given.")
    not_served: str = Field(default="", description="Why a live edit does not act on the model at hand.")

    def line(self) -> str:
        live = "Live. " if self.live and not self.not_served else ""
        return f"{self.row()} {live}In {self.place}. {self._numbers()}".strip()

    def row(self, tokens: int = 40) -> str:
        """The edit as one of a list."""
        return f"{self.edit_id}{self._state()} {clip(self.fact, tokens)}."

    def detail(self) -> str:
        through = f" through {self.client}" if self.client else ""
        made = f"{self.kind} by {self.method}, {self.created_at}, {self.principal}{through}."
        why = f"Why: {self.why}" if self.why else ""
        told = [f"{self.row(1000)} In {self.place}.", made, why, self._numbers(), self.reason, self.not_served]
        return "\n".join(filter(None, told))

    def _state(self) -> str:
        if self.live:
            return f" [live but not served: {clip(self.not_served, 16)}]" if self.not_served else ""
        return f" [{self.outcome}, not live]"

    def _numbers(self) -> str:
        return clip(self.reason, 30) if self.evidence is None else shares(self.evidence)


class ProposalView(SpaceResult):
    """A change that an agent asked for: waiting for a person's approval, or decided about."""

    proposal_id: str
    change: str = Field(description="In words.")
    state: Literal["waiting", "approved", "rejected"]
    asked_by: str
    client: str = ""
    why: str = Field(default="", description="The reason that was given.")
    because: str = Field(description="Why it needs an approval.")
    created_at: str = Field(description="ISO 8601, UTC.")
    outcome: str = Field(default="", description="What came of an approved change.")
    result: dict[str, Any] = Field(default_factory=dict)

    def line(self) -> str:
        return f"{self.row(40)} {clip(self.outcome, 50)}".strip()

    def row(self, tokens: int) -> str:
        """The proposal as one of a list."""
        return f"{self.proposal_id} [{self.state}] {clip(self.change, tokens)}."

    def detail(self) -> str:
        through = f" through {self.client}" if self.client else ""
        asked = f"Asked by {self.asked_by}{through}, {self.created_at}: {self.why or 'no reason given'}."
        told = [self.row(1000), asked, f"Needs approval, since {self.because}.", self.outcome]
        return "\n".join(filter(None, told))


class ProposalList(Result):
    """The changes that wait for approval in the spaces that the caller may change, oldest first."""

    proposals: tuple[ProposalView, ...]

    def line(self) -> str:
        rows = few([one.row(20) for one in self.proposals], 85, MORE)
        return "\n".join([f"{len(self.proposals)} changes wait for approval.", *rows])

    def detail(self) -> str:
        return "\n".join(one.detail() for one in self.proposals) or "No change waits for approval."

    def named(self, model: str) -> Self:
        return self.model_copy(update={"proposals": tuple(one.named(model) for one in self.proposals)})


class EditPage(SpaceResult):
    """A page of edits, newest first; pass `next_cursor` back for the next page."""

    edits: tuple[EditView, ...]
    next_cursor: str | None = None

    def line(self) -> str:
        if not self.edits:
            return f"No edits in {self.place}."
        rows = few([edit.row(14) for edit in self.edits], 65, MORE)
        return "\n".join([f"{len(self.edits)} edits in {self.place}:", *rows, *self._more()])

    def detail(self) -> str:
        rows = [edit.row() for edit in self.edits]
        return "\n".join([f"{len(self.edits)} edits in {self.place}:", *rows, *self._more()])

    def _more(self) -> list[str]:
        return [f"Next page: cursor={self.next_cursor}"] if self.next_cursor else []


class UndoResult(SpaceResult):
    """An edit was taken off. `layer_hash` equals that of a layer that never had it."""

    edit_id: str
    space: str
    version: int
    layer_hash: str
    brought_back: tuple[str, ...] = ()
    was_superseding: tuple[str, ...] = ()
    next: str = ""

    def line(self) -> str:
        back = f" Brought back {some(self.brought_back[:3], len(self.brought_back))}." if self.brought_back else ""
        return f"Undid {self.edit_id}; {self.place} is at version {self.version}.{back} {self.next}".strip()


class SpaceView(Result):
    """A space: its parent, head version and how many edits are live in it."""

    name: str
    parent: str | None
    owner: str
    version: int
    live: int
    layer_hash: str
    gateway_model: str = Field(default="", description="What a gateway's client names as `model` to get this space.")

    def line(self) -> str:
        served = f", gateway model {self.gateway_model}" if self.gateway_model else ""
        return f"{self.name} v{self.version}: {self.live} live edits (parent {self.parent or 'none'}{served})"

    def named(self, model: str) -> Self:
        return self.model_copy(update={"gateway_model": f"{model}@{self.name}"})


class SpaceList(Result):
    """The spaces that the caller may see."""

    spaces: tuple[SpaceView, ...]

    def line(self) -> str:
        rows = [f"{s.name} v{s.version}: {s.live} live edits" for s in self.spaces]
        head = f"{len(rows)} spaces:"
        return "\n".join([head, *few(rows, 85, MORE)])

    def detail(self) -> str:
        return "\n".join(s.line() for s in self.spaces) or "No spaces."

    def named(self, model: str) -> Self:
        return self.model_copy(update={"spaces": tuple(space.named(model) for space in self.spaces)})


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
        rows = self._rows(8)
        told = [f"{clip(r['prompt'], 10)} {clip(r['a'], 6)} / {clip(r['b'], 6)}" for r in self._differing()]
        return "\n".join([self._counts(), *few(told, 35, "more"), *few(rows, 40, MORE)])

    def detail(self) -> str:
        rows = self._rows(40)
        told = [f"{row['prompt']}\n  {self.a}: {row['a']}\n  {self.b}: {row['b']}" for row in self.answers]
        return "\n".join([self._counts(), *rows, *told])

    def _rows(self, tokens: int) -> list[str]:
        sides = ((self.a, self.only_a), (self.b, self.only_b))
        return [f"Only in {name}: {edit.row(tokens)}" for name, edits in sides for edit in edits]

    def _differing(self) -> list[dict[str, str]]:
        return [row for row in self.answers if row["a"] != row["b"]]

    def _counts(self) -> str:
        asked = f"; {len(self._differing())} of {len(self.answers)} answers differ" if self.answers else ""
        return f"{len(self.only_a)} edits only in {self.a}, {len(self.only_b)} only in {self.b}{asked}."


class JobView(SpaceResult):
    """Long work in the background."""

    job_id: str
    kind: str
    space: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1)
    message: str = ""
    summary: str = Field(default="", description="The result in words and numbers, once there is one.")
    result: dict[str, Any] = Field(default_factory=dict)

    def line(self) -> str:
        return f"{self._head()} {clip(self.summary or self.message, 85)}".strip()

    def detail(self) -> str:
        return f"{self._head()} {self.summary or self.message}".strip()

    def _head(self) -> str:
        return f"{self.job_id} {self.kind} in {self.space}: {self.state}, {self.progress:.0%}."


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
        return f"{self.name} ({self.phase}, {self.configuration}): {self.summary}"


class MethodList(Result):
    """The methods that `method=` accepts; `auto` picks among them."""

    methods: tuple[MethodView, ...]

    def line(self) -> str:
        by_phase: dict[str, list[str]] = {}
        for method in self.methods:
            by_phase.setdefault(method.phase, []).append(method.name)
        told = "; ".join(f"{phase}: {', '.join(names)}" for phase, names in by_phase.items())
        return f"{told}. 'auto' picks; response_format='detailed' says what each does."

    def detail(self) -> str:
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


class MultihopAnswer(SpaceResult):
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
        return self._told(clip(self._used, 30), clip(self._chain, 35), clip(self.reason, 25))

    def detail(self) -> str:
        return "\n".join([self._told(self._used, self._chain, self.reason), *self.conflicts])

    @property
    def _used(self) -> str:
        return f"edits used: {', '.join(self.citations)}" if self.affected else "not affected by any edit"

    @property
    def _chain(self) -> str:
        return " -> ".join(f"{hop.question} {hop.answer}" for hop in self.hops) or "no chain"

    def _told(self, used: str, chain: str, reason: str) -> str:
        state = "" if self.complete else f" Incomplete: step {self.failed_step} failed."
        return f"{self.answer or 'No answer.'} ({used}; {chain}).{state}{' ' if reason else ''}{reason}"


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
