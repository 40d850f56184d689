"""What happens while a multi-hop question is answered, step by step, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.brief import clip
from ketools.core.results import SpaceResult

Source = Literal["model", "edit"]
PlanSource = Literal["templates", "model", "similarity"]


class Hop(BaseModel):
    """One answered step: `edit_id` and `fact` are there when an edit gave the answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str
    source: Source
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
        used = f"edits used: {', '.join(self.citations)}" if self.affected else "not affected by any edit"
        return self._told(clip(used, 30), clip(self._chain, 35), clip(self.reason, 25))

    def detail(self) -> str:
        used = f"edits used: {', '.join(self.citations)}" if self.affected else "not affected by any edit"
        return "\n".join([self._told(used, self._chain, self.reason), *self.conflicts])

    @property
    def _chain(self) -> str:
        return " -> ".join(f"{hop.question} {hop.answer}" for hop in self.hops) or "no chain"

    def _told(self, used: str, chain: str, reason: str) -> str:
        state = "" if self.complete else f" Incomplete: step {self.failed_step} failed."
        return f"{self.answer or 'No answer.'} ({used}; {chain}).{state}{' ' if reason else ''}{reason}"


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    step: int = 0


class Planned(_Event):
    """The question was taken apart before anything was answered; `#1` stands for the first answer."""

    type: Literal["planned"] = "planned"
    subquestions: tuple[str, ...]
    source: PlanSource

    def line(self) -> str:
        return f"plan: {' | '.join(self.subquestions)}"


class Subquestion(_Event):
    """A question of one hop is about to be answered."""

    type: Literal["subquestion"] = "subquestion"
    question: str

    def line(self) -> str:
        return f"step {self.step}: {self.question}"


class Retrieved(_Event):
    """An edit came out of the memory. `in_scope` None: not judged before it is put in (MeLLo)."""

    type: Literal["retrieved"] = "retrieved"
    edit_id: str
    fact: str
    score: float
    in_scope: bool | None

    def line(self) -> str:
        judged = {True: "in scope", False: "not in scope", None: "put in"}[self.in_scope]
        return f"step {self.step}: {self.fact} ({self.edit_id}, {judged})"


class Intermediate(_Event):
    """A hop has its answer."""

    type: Literal["intermediate"] = "intermediate"
    answer: str
    source: Source

    def line(self) -> str:
        return f"step {self.step}: {self.answer} (by the {self.source})"


class Malformed(_Event):
    """The model did not follow the form."""

    type: Literal["malformed"] = "malformed"
    text: str
    reason: str

    def line(self) -> str:
        return f"step {self.step}: a generation without its form: {self.reason}"


class Backtracked(_Event):
    """A plan or a step came to nothing, and another way is tried."""

    type: Literal["backtracked"] = "backtracked"
    reason: str

    def line(self) -> str:
        return f"another way: {self.reason}"


class ConflictSeen(_Event):
    """Live edits give one fact different values; the newest, `chosen`, counts."""

    type: Literal["conflict"] = "conflict"
    edit_ids: tuple[str, ...]
    chosen: str
    told: str

    def line(self) -> str:
        return f"conflict: {self.told}"


class Finished(_Event):
    """The last event of every run."""

    type: Literal["finished"] = "finished"
    result: MultihopAnswer

    def line(self) -> str:
        return self.result.line()


Event = Annotated[
    Planned | Subquestion | Retrieved | Intermediate | Malformed | Backtracked | ConflictSeen | Finished,
    Field(discriminator="type"),
]
"""Each tells itself in a `line`."""
