"""Optimising a change of one down projection until the model says the target, and little else.

ROME's v* and FT-M's weight change are found by the same loop: they differ in what is optimised and in how it
acts on the module's output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ketools.errors import Diverged
from ketools.models.batch import Batch, Positions
from ketools.models.covariance import Progress, silent
from ketools.models.editable import EditableModel
from ketools.models.structure import Block
from ketools.models.tail import Change, Changes, Tail


@dataclass(frozen=True)
class Losses:
    """What a change does, measured on the batch; every field `[requests]`.

    `nll`: mean negative log likelihood of the target, nats per token, averaged over contexts.
    `kl`: mean KL divergence of the kept predictions from what they were, in nats (0 when none are kept).
    `confidence`: the smallest probability of a target token. `kept`: whether every kept argmax is as it was.
    """

    nll: Tensor
    kl: Tensor
    confidence: Tensor
    kept: Tensor


class Objective:
    """The targets' likelihoods and the kept predictions of a batch, as functions of changes from one block on."""

    def __init__(self, em: EditableModel, batch: Batch, block: int) -> None:
        self._batch = batch
        self._tail = Tail(em, batch, _joined(batch.target, batch.kept), block)
        self._targets = len(batch.target)
        self._weights = _per_context(batch)
        self._base = self._tail.base[self._targets :]
        self._said, self._kept = batch.owner[batch.target.rows], batch.owner[batch.kept.rows]

    @property
    def keys(self) -> Tensor:
        """The down projection's inputs on the batch, `[n, t, in]`."""
        return self._tail.keys

    @property
    def requests(self) -> int:
        """How many requests the batch holds."""
        return self._batch.requests

    def losses(self, changes: Changes) -> Losses:
        """Losses of each request when the changes are added to the modules' outputs."""
        log_probs = self._tail.log_probs(changes)
        said, kept = log_probs[: self._targets], log_probs[self._targets :]
        chosen = said.gather(1, self._batch.target_ids[:, None])[:, 0]
        moved = (kept.detach().argmax(-1) != self._base.argmax(-1)).float()
        return Losses(
            nll=-self._summed(chosen * self._weights, self._said),
            kl=self._summed(_divergences(self._base, kept), self._kept) / self._counts(self._kept),
            confidence=chosen.new_ones(self.requests).scatter_reduce(0, self._said, chosen.detach().exp(), "amin"),
            kept=self._summed(moved, self._kept) == 0,
        )

    def _summed(self, values: Tensor, owner: Tensor) -> Tensor:
        return values.new_zeros(self.requests).index_add(0, owner, values)

    def _counts(self, owner: Tensor) -> Tensor:
        return torch.bincount(owner, minlength=self.requests).clamp_min(1)


def _joined(first: Positions, second: Positions) -> Positions:
    return Positions(torch.cat([first.rows, second.rows]), torch.cat([first.columns, second.columns]))


def _per_context(batch: Batch) -> Tensor:
    """A weight per target token so that a request's contexts count alike and sum to 1, `[m]`."""
    sizes = torch.bincount(batch.target.rows, minlength=batch.contexts)
    contexts = torch.bincount(batch.owner[: batch.contexts], minlength=batch.requests)
    return 1.0 / (sizes[batch.target.rows] * contexts[batch.owner[batch.target.rows]])


def _divergences(base: Tensor, now: Tensor) -> Tensor:
    """KL(base || now) at each position `[m]`; arguments are log probabilities `[m, vocabulary]`."""
    return torch.nn.functional.kl_div(now, base, log_target=True, reduction="none").sum(-1)


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
    acting: Callable[[Tensor], Changes],
    schedule: Schedule,
    *,
    penalty: Callable[[Tensor], Tensor] | None = None,
    project: Callable[[Tensor], None] | None = None,
    progress: Progress = silent,
) -> Outcome:
    """`minimise_each` of a single request, whose tensor has no leading dimension."""

    def single(value: Tensor) -> Changes:
        return acting(value[0])

    def punished(value: Tensor) -> Tensor:
        return penalty(value[0])[None] if penalty is not None else value.new_zeros(1)

    found = minimise_each(
        objective, start[None], single, schedule, penalty=punished, project=project, progress=progress
    )
    return found[0]


def minimise_each(
    objective: Objective,
    start: Tensor,
    acting: Callable[[Tensor], Changes],
    schedule: Schedule,
    *,
    penalty: Callable[[Tensor], Tensor] | None = None,
    term: Callable[[Tensor], Tensor] | None = None,
    project: Callable[[Tensor], None] | None = None,
    progress: Progress = silent,
) -> list[Outcome]:
    """Optimise a tensor per request, all at once, from `start [requests, ...]`.

    `acting(tensor)`: the changes that it makes. `penalty(tensor) [requests]` is added with weight `decay`, and
    `term(tensor) [requests]` as it is; `project(tensor)` puts it back within its bounds, in place, after each step
    (its `grad` is still there).
    Requests do not share their losses, so each is optimised as it would be alone, and stops by itself.
    Raises `Diverged` on NaN or infinity, or when a target never became more probable; and what `progress` raises.
    """
    value = start.clone().requires_grad_(True)
    adam = torch.optim.Adam([value], lr=schedule.lr)
    best = _Best(schedule)
    for step in range(schedule.steps + 1):
        losses = objective.losses(acting(value))
        total = losses.nll + schedule.preservation * losses.kl
        if penalty is not None:
            total = total + schedule.decay * penalty(value)
        if term is not None:
            total = total + term(value)
        best.see(step, value.detach(), losses, total.detach())
        progress(step, schedule.steps, f"target probability {math.exp(-float(losses.nll.detach().mean())):.3f}")
        if step == schedule.steps or best.finished:
            break
        adam.zero_grad()
        total.sum().backward()  # type: ignore[no-untyped-call]
        adam.step()
        if project is not None:
            with torch.no_grad():
                project(value)
    return best.outcomes()


class _Best:
    """The best iterate of every request so far; a request that has reached its target is looked at no more."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._first: list[float] = []
        self._found: list[tuple[float, Outcome]] = []
        self._done: list[bool] = []

    @property
    def finished(self) -> bool:
        """Whether every request has stopped."""
        return all(self._done)

    def see(self, step: int, value: Tensor, losses: Losses, total: Tensor) -> None:
        """Take note of an iterate `[requests, ...]`. Raises `Diverged` unless its losses are finite."""
        numbers = torch.stack([total, losses.nll.detach(), losses.kl.detach(), losses.confidence]).tolist()
        kept = losses.kept.tolist()
        for i, (now, nll, kl, confidence) in enumerate(zip(*numbers, strict=True)):
            if step == 0:
                self._first.append(nll)
                self._found.append((math.inf, Outcome(value[i], 0, nll, kl, confidence)))
                self._done.append(False)
            if self._done[i]:
                continue
            _require_finite(now, step)
            if now < self._found[i][0]:
                self._found[i] = (now, Outcome(value[i].clone(), step, nll, kl, confidence))
            self._done[i] = kept[i] and confidence >= self._schedule.confidence

    def outcomes(self) -> list[Outcome]:
        """What was found. Raises `Diverged` when a target is no more probable than before."""
        pairs = zip(self._found, self._first, strict=True)
        return [_require_progress(found, first, self._schedule) for (_, found), first in pairs]


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
    directions: Tensor | None = None,
    clamp: float = 4.0,
    attention: bool = False,
    term: Callable[[Tensor], Tensor] | None = None,
    progress: Progress = silent,
) -> list[Outcome]:
    """ROME's v* as an offset d `[out]` of the value at the subject's last token, for every request at once.

    `values [m, out]`: the module's outputs at the batch's subject tokens. A step is `lr` times their root mean
    square, so that one `lr` suits models of any scale; ||d|| stays within `clamp` times their mean norm; the
    penalty is ||d||^2 / ||v||^2.
    Without `directions`, d is added to the value there, as in ROME. With `directions` u `[requests, in]`, d acts
    through the very update that will be written, d u^T, at every token: the loss then sees what leaks elsewhere.
    With `attention`, the attention's output there is optimised with it (PMET); it is not part of the outcome.
    `term(d) [requests]`, for offsets `[requests, out]`, is a further part of the loss. Raises `Diverged`.
    """
    objective, width = Objective(em, batch, block), values.shape[-1]
    size = _mean_norms(batch, values)
    unit = (size / width**0.5)[:, None, None]
    if directions is not None:
        acting = _through_update(batch, directions.float())
    else:
        acting = _at_subject(batch, objective.keys, em.structure.blocks[block] if attention else None)

    def project(x: Tensor) -> None:
        for row in x.flatten(0, 1):
            clamp_norm(row, clamp * width**0.5)

    found = minimise_each(
        objective,
        values.new_zeros(batch.requests, 2 if attention else 1, width),
        lambda x: acting(x * unit),
        schedule,
        penalty=lambda x: x.square().sum((1, 2)) / width,
        term=(lambda x: term((x * unit)[:, 0])) if term is not None else None,
        project=project,
        progress=progress,
    )
    return [replace(one, value=one.value[0] * unit[i, 0]) for i, one in enumerate(found)]


def _mean_norms(batch: Batch, values: Tensor) -> Tensor:
    """The mean norm of each request's values, `[requests]`."""
    owner = batch.owner[batch.subject.rows]
    sums = values.new_zeros(batch.requests).index_add(0, owner, values.norm(dim=-1))
    return (sums / torch.bincount(owner, minlength=batch.requests)).clamp_min(1e-6)


def clamp_norm(vector: Tensor, limit: float) -> None:
    """Shorten the vector in place to at most `limit`."""
    norm = vector.norm()
    if norm > limit:
        vector.mul_(limit / norm)


def _through_update(batch: Batch, directions: Tensor) -> Callable[[Tensor], Changes]:
    """Offsets `[requests, 1, out]` through u `[requests, in]`."""
    u = directions[batch.owner]
    return lambda d: lambda keys: torch.einsum("nti,ni->nt", keys, u)[..., None] * d[batch.owner]


def _at_subject(batch: Batch, keys: Tensor, both: Block | None) -> Callable[[Tensor], Changes]:
    """Offsets `[requests, parts, out]` at the subject; with `both`, the second part at its attention's output."""
    where = keys.new_zeros(keys.shape[:2])
    where[batch.subject.rows, batch.subject.columns] = 1.0

    def at(d: Tensor, part: int) -> Change:
        return lambda _: where[..., None] * d[batch.owner, part][:, None]

    if both is None:
        return lambda d: at(d, 0)
    return lambda d: {both.down_proj: at(d, 0), both.attn_out: at(d, 1)}
