"""What happens while a multi-hop question is answered, step by step, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ketools.core.results import HopSource, MultihopAnswer

PlanSource = Literal["templates", "model", "similarity"]


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
    source: HopSource

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
