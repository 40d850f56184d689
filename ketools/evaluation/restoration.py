"""Whether taking edits off gives the model back (figure 10 of the survey): here it must, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from ketools.engines.base import Engine, Score
from ketools.evaluation.baseline import Baseline
from ketools.evaluation.cases import EditCase
from ketools.layers.composition import BASE, EditLayer


class Restoration(BaseModel):
    """Log probabilities along the base model's own answers to `n` prompts, of `tokens` tokens.

    `moved`: the greatest difference (nats) that the edits make; `left`: the greatest that is left after their undo.
    `exact`: whether every one of them has its old bits again.
    """

    model_config = ConfigDict(frozen=True)

    moved: float
    left: float
    exact: bool
    n: int
    tokens: int


def restoration(engine: Engine, baseline: Baseline, layer: EditLayer, cases: Sequence[EditCase]) -> Restoration | None:
    """Take the layer's edits off one by one, the oldest first, and compare. None when there is nothing to ask."""
    baseline.prepare(cases)
    probes = [p for case in cases for p in (case.direct, *(q for group in case.locality.values() for q in group))]
    asked = [(p.rendered(), baseline.answer(p)) for p in probes if baseline.answer(p).strip()]
    if not asked:
        return None
    undone = layer
    for edit in layer.edits:
        undone = undone.without(edit.edit_id)
    found = [_logprobs(engine.score([p for p, _ in asked], [a for _, a in asked], x)) for x in (BASE, layer, undone)]
    before, edited, after = found
    return Restoration(
        moved=max(abs(a - b) for a, b in zip(before, edited, strict=True)),
        left=max(abs(a - b) for a, b in zip(before, after, strict=True)),
        exact=before == after,
        n=len(asked),
        tokens=len(before),
    )


def _logprobs(scores: Sequence[Score]) -> list[float]:
    return [value for score in scores for value in score.logprobs]
