"""What computations on a model may vary, as plain values. Importing this imports neither torch nor transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FactToken = Literal["subject_last", "prompt_last"]
"""The token whose key stands for a fact: the subject's last, or those that predict the target, from the prompt's last
on. The name is the reference implementations'."""


@dataclass(frozen=True)
class Breadth:
    """How many contexts of each sort are used.

    `templates`: clozes and questions of the relation, each. `conversations`: whether a question is also asked
    after a system message and after an earlier exchange. `prefixes`: prompts put after other text.
    `relations`: other facts of the same subject to preserve. `neighbours`: other subjects, same relation.
    """

    templates: int = 3
    conversations: bool = True
    prefixes: int = 1
    relations: int = 4
    neighbours: int = 4


@dataclass(frozen=True)
class Schedule:
    """How a change is optimised: Adam with `lr` for at most `steps` steps.

    Stops early once every target token has probability `confidence` and every kept argmax is unchanged, or, every
    target token having it, when the loss has gained too little for some steps (`PATIENCE` and `WORTH` in
    `ketools.models.targets`).
    `preservation` weighs the KL term, `decay` the penalty that `minimise` is given.
    """

    steps: int
    lr: float
    confidence: float = 0.9
    preservation: float = 1.0
    decay: float = 0.0
