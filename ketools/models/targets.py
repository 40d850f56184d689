"""Optimising a change of one down projection until the model says the target, and little else.

ROME's v* and FT-M's weight change are found by the same loop: they differ in what is optimised and in how it
acts on the module's output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.errors import Diverged
from ketools.models.batch import Batch, Positions
from ketools.models.covariance import Progress, silent
from ketools.models.editable import EditableModel
from ketools.models.tail import Change, Tail


@dataclass(frozen=True)
class Losses:
    """What a change does, measured on the batch.

    `nll`: mean negative log likelihood of the target, nats per token, averaged over contexts.
    `kl`: mean KL divergence of the kept predictions from what they were, in nats (0 when none are kept).
    `confidence`: the smallest probability of a target token. `kept`: whether every kept argmax is as it was.
    """

    nll: Tensor
    kl: Tensor
    confidence: float
    kept: bool


class Objective:
    """The target's likelihood and the kept predictions of a batch, as functions of a change of one block."""

    def __init__(self, em: EditableModel, batch: Batch, block: int) -> None:
        self._batch = batch
        self._tail = Tail(em, batch, _joined(batch.target, batch.kept), block)
        self._targets = len(batch.target)
        self._weights = _per_context(batch)
        self._base = self._tail.base[self._targets :]

    @property
    def keys(self) -> Tensor:
        """The down projection's inputs on the batch, `[n, t, in]`."""
        return self._tail.keys

    def losses(self, change: Change) -> Losses:
        """Losses when `change(keys)` is added to the down projection's output."""
        log_probs = self._tail.log_probs(change)
        said, kept = log_probs[: self._targets], log_probs[self._targets :]
        chosen = said.gather(1, self._batch.target_ids[:, None])[:, 0]
        return Losses(
            nll=-(chosen * self._weights).sum(),
            kl=_divergence(self._base, kept),
            confidence=float(chosen.detach().min().exp()),
            kept=bool((kept.detach().argmax(-1) == self._base.argmax(-1)).all()),
        )


def _joined(first: Positions, second: Positions) -> Positions:
    return Positions(torch.cat([first.rows, second.rows]), torch.cat([first.columns, second.columns]))


def _per_context(batch: Batch) -> Tensor:
    """A weight per target token so that every context counts alike and all sum to 1, `[m]`."""
    sizes = torch.bincount(batch.target.rows, minlength=batch.contexts)
    return 1.0 / (sizes[batch.target.rows] * batch.contexts)


def _divergence(base: Tensor, now: Tensor) -> Tensor:
    """Mean KL(base || now) over positions; arguments are log probabilities `[m, vocabulary]`."""
    if len(base) == 0:
        return base.new_zeros(())
    return torch.nn.functional.kl_div(now, base, log_target=True, reduction="batchmean")


@dataclass(frozen=True)
class Schedule:
    """How a change is optimised: Adam with `lr` for at most `steps` steps.

    Stops early once every target token has probability `confidence` and every kept argmax is unchanged.
    `preservation` weighs the KL term, `decay` the penalty that `minimise` is given.
    """

    steps: int
    lr: float
    confidence: float = 0.9
    preservation: float = 1.0
    decay: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """The best iterate: its losses as numbers, and how many steps were taken."""

    value: Tensor
    steps: int
    nll: float
    kl: float
    confidence: float


def minimise(
    objective: Objective,
    start: Tensor,
    acting: Callable[[Tensor], Change],
    schedule: Schedule,
    *,
    penalty: Callable[[Tensor], Tensor] | None = None,
    project: Callable[[Tensor], None] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Optimise a tensor from `start`; `acting(tensor)` is the change that it makes.

    `penalty(tensor)` is added with weight `decay`; `project(tensor)` clamps it in place after each step.
    Raises `Diverged` on NaN or infinity, or when the target never became more probable; and what
    `progress` raises.
    """
    value = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([value], lr=schedule.lr)
    first, best = math.nan, None
    for step in range(schedule.steps + 1):
        losses = objective.losses(acting(value))
        total = losses.nll + schedule.preservation * losses.kl
        if penalty is not None:
            total = total + schedule.decay * penalty(value)
        now, nll = float(total.detach()), float(losses.nll.detach())
        _require_finite(now, step)
        first = nll if step == 0 else first
        if best is None or now < best[0]:
            kl = float(losses.kl.detach())
            best = (now, Outcome(value.detach().clone(), step, nll, kl, losses.confidence))
        progress(step, schedule.steps, f"target probability {math.exp(-nll):.3f}")
        if step == schedule.steps or (losses.kept and losses.confidence >= schedule.confidence):
            break
        adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        adam.step()
        if project is not None:
            with torch.no_grad():
                project(value)
    assert best is not None
    return _require_progress(best[1], first, schedule)


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"The optimisation became {loss} at step {step}; lower lr, or run calibrate for this model.")


def _require_progress(outcome: Outcome, first: float, schedule: Schedule) -> Outcome:
    already = outcome.steps == 0 and outcome.confidence >= schedule.confidence
    if outcome.nll < first or already:
        return outcome
    raise Diverged(
        f"After {schedule.steps} steps the target was no more probable than before (nll {first:.3f}); "
        "raise lr or steps, choose another layer, or run calibrate for this model."
    )


def compute_z(
    em: EditableModel,
    batch: Batch,
    block: int,
    values: Tensor,
    schedule: Schedule,
    *,
    direction: Tensor | None = None,
    clamp: float = 4.0,
    progress: Progress = silent,
) -> Outcome:
    """ROME's v* as an offset d `[out]` of the value at the subject's last token, in all contexts at once.

    `values [m, out]`: the module's outputs there. The step size is `lr` times their root mean square, so
    that one `lr` suits models of any scale; ||d|| stays within `clamp` times their mean norm; the penalty
    is ||d||^2 / ||v||^2.
    Without `direction`, d is added to the value there, as in ROME. With `direction` u `[in]`, d acts through
    the very update that will be written, d u^T, at every token: the loss then sees what leaks elsewhere.
    Raises `Diverged`.
    """
    size = values.norm(dim=-1).mean().clamp_min(1e-6)
    objective = Objective(em, batch, block)
    acting = _through_update(direction) if direction is not None else _at_subject(batch, objective.keys)
    scaled = Schedule(
        steps=schedule.steps,
        lr=float(schedule.lr * size / values.shape[-1] ** 0.5),
        confidence=schedule.confidence,
        preservation=schedule.preservation,
        decay=schedule.decay,
    )
    return minimise(
        objective,
        values.new_zeros(values.shape[-1]),
        acting,
        scaled,
        penalty=lambda d: d.square().sum() / size**2,
        project=lambda d: clamp_norm(d, float(clamp * size)),
        progress=progress,
    )


def clamp_norm(vector: Tensor, limit: float) -> None:
    """Shorten the vector in place to at most `limit`."""
    norm = vector.norm()
    if norm > limit:
        vector.mul_(limit / norm)


def _through_update(direction: Tensor) -> Callable[[Tensor], Change]:
    u = direction.float()
    return lambda d: lambda keys: (keys @ u)[..., None] * d


def _at_subject(batch: Batch, keys: Tensor) -> Callable[[Tensor], Change]:
    where = keys.new_zeros(keys.shape[:2])
    where[batch.subject.rows, batch.subject.columns] = 1.0
    return lambda d: lambda _: where[..., None] * d
