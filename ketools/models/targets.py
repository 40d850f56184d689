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

from ketools.core.errors import Diverged
from ketools.core.progress import Progress, quiet
from ketools.models.batch import Batch, Positions
from ketools.models.editable import EditableModel
from ketools.models.options import Schedule
from ketools.models.sites import Sites
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
        kept = len(batch.kept)
        self._base = self._tail.base[-kept:] if kept else self._tail.keys.new_zeros(0, 1)
        self._said, self._kept = batch.owner[batch.target.rows], batch.owner[batch.kept.rows]

    @property
    def keys(self) -> Tensor:
        """The down projection's inputs at the places that are changed, `[n, t, in]`; see `Tail`."""
        return self._tail.keys

    @property
    def owner(self) -> Tensor:
        """Whose each row of `keys` is, `[n]`."""
        return self._tail.owner

    def places(self, at: Positions) -> tuple[Tensor, Tensor]:
        """Where tokens of the batch stand among the keys; see `Tail`."""
        return self._tail.places(at)

    def values(self, at: Positions) -> Tensor:
        """What the down projection puts out at tokens of the batch, `[m, out]`."""
        return self._tail.values(at)

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
class TargetOutcome:
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
    progress: Progress = quiet,
) -> TargetOutcome:
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
    required: bool = True,
    progress: Progress = quiet,
) -> list[TargetOutcome]:
    """Optimise a tensor per request, all at once, from `start [requests, ...]`.

    `acting(tensor)`: the changes that it makes. `penalty(tensor) [requests]` is added with weight `decay`, and
    `term(tensor) [requests]` as it is; `project(tensor)` puts it back within its bounds, in place, after each step
    (its `grad` is still there).
    Requests do not share their losses, so each is optimised as it would be alone, and stops by itself.
    Raises `Diverged` on NaN or infinity, or, where that is `required`, when a target never became more probable;
    and what `progress` raises.
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
    return best.outcomes(required)


PATIENCE = 40

WORTH = 0.01
"""The gain, in nats, for which an optimisation goes on whose target is certain."""


class _Best:
    """The best iterate of every request so far; a request that has reached its target is looked at no more."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._first: list[float] = []
        self._found: list[tuple[float, TargetOutcome]] = []
        self._done: list[bool] = []
        self._gained: list[tuple[int, float]] = []
        """By request, when the loss was last worth going on for, and what it was."""

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
                self._found.append((math.inf, TargetOutcome(value[i], 0, nll, kl, confidence)))
                self._done.append(False)
                self._gained.append((0, now))
            if self._done[i]:
                continue
            _require_finite(now, step, i)
            if now < self._found[i][0]:
                self._found[i] = (now, TargetOutcome(value[i].clone(), step, nll, kl, confidence))
            if now < min(0.9 * self._gained[i][1], self._gained[i][1] - WORTH):
                self._gained[i] = step, now
            stalled = step - self._gained[i][0] >= PATIENCE
            self._done[i] = (kept[i] or stalled) and confidence >= self._schedule.confidence

    def outcomes(self, required: bool) -> list[TargetOutcome]:
        """What was found. Raises `Diverged` when a target is no more probable than before although it is `required`."""
        outcomes = [found for _, found in self._found]
        stuck = [i for i, one in enumerate(outcomes) if not _approached(one, self._first[i], self._schedule)]
        if stuck and required:
            raise Diverged(
                f"After {self._schedule.steps} steps the target was no more probable than before (nll "
                f"{self._first[stuck[0]]:.3f}); raise lr or steps, choose another layer, or run calibrate for this "
                "model.",
                which=stuck,
            )
        return outcomes


def _require_finite(loss: float, step: int, request: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"The optimisation became {loss} at step {step}; lower lr, or run calibrate for this model.",
            which=[request],
        )


def _approached(outcome: TargetOutcome, first: float, schedule: Schedule) -> bool:
    """Whether the target is more probable than at first, or was probable enough."""
    return outcome.nll < first or (outcome.steps == 0 and outcome.confidence >= schedule.confidence)


def compute_z(
    em: EditableModel,
    batch: Batch,
    block: int,
    sites: Sites,
    schedule: Schedule,
    *,
    directions: Tensor | None = None,
    clamp: float = 4.0,
    attention: bool = False,
    term: Callable[[Tensor], Tensor] | None = None,
    required: bool = True,
    progress: Progress = quiet,
) -> list[TargetOutcome]:
    """ROME's v* as offsets d `[values, out]` of what stands at the batch's sites, for every request at once.

    A step is `lr` times the root mean square of the values v that stand there, so that one `lr` suits models of any
    scale; the norm of an offset stays within `clamp` times their mean norm; the penalty is the sum of
    ||d||^2 / ||v||^2.
    Without `directions`, d is added to the value there, as in ROME. With `directions` u `[requests, values, in]`, d
    acts through the very update that will be written, sum of d u^T, at every token: the loss then sees what leaks
    elsewhere. With `attention`, the attention's output is optimised there too (PMET), which is no part of the outcome.
    `term(d) [requests]`, for the requests' first offsets `[requests, out]`, is a further part of the loss.
    Raises `Diverged`, see `minimise_each`.
    """
    objective = Objective(em, batch, block)
    values = objective.values(sites.at)
    width = values.shape[-1]
    unit = (_mean_norms(sites, values) / width**0.5)[:, None, None, None]
    if directions is not None:
        acting = _through_update(objective, directions.float())
    else:
        acting = _at_sites(objective, batch, sites, em.structure.blocks[block] if attention else None)

    def project(x: Tensor) -> None:
        norms = x.norm(dim=-1, keepdim=True)
        x.mul_((clamp * width**0.5 / norms.clamp_min(1e-30)).clamp_max(1.0))

    found = minimise_each(
        objective,
        values.new_zeros(batch.requests, 2 if attention else 1, sites.widest, width),
        lambda x: acting(x * unit),
        schedule,
        penalty=lambda x: x.square().sum((1, 2, 3)) / width,
        term=(lambda x: term((x * unit)[:, 0, 0])) if term is not None else None,
        project=project,
        required=required,
        progress=progress,
    )
    counts = sites.slots.tolist()
    return [replace(one, value=(one.value * unit[i])[0, : counts[i]].clone()) for i, one in enumerate(found)]


def _mean_norms(sites: Sites, values: Tensor) -> Tensor:
    """The mean norm of each request's values in its contexts, `[requests]`."""
    owner, norms = sites.owner[sites.edit], values[sites.edit].norm(dim=-1)
    sums = values.new_zeros(len(sites.slots)).index_add(0, owner, norms)
    return (sums / torch.bincount(owner, minlength=len(sums))).clamp_min(1e-6)


def _through_update(objective: Objective, directions: Tensor) -> Callable[[Tensor], Changes]:
    """Offsets `[requests, 1, values, out]` through u `[requests, values, in]`."""
    u, owner = directions[objective.owner], objective.owner
    return lambda d: lambda keys: torch.einsum("nti,nsi,nso->nto", keys, u, d[owner, 0])


def _at_sites(objective: Objective, batch: Batch, sites: Sites, both: Block | None) -> Callable[[Tensor], Changes]:
    """Offsets `[requests, parts, values, out]` at their sites; with `both`, the second part at the attention's."""
    places, inside = objective.places(sites.at)
    everywhere = sites.at.rows * batch.ids.shape[1] + sites.at.columns
    shape = objective.keys.shape[:2]

    def at(d: Tensor, part: int) -> Change:
        offsets = d[:, part].flatten(0, 1)[sites.padded]
        if both is None:
            return lambda _: _scattered(offsets[inside], places[inside], shape)
        return lambda _: _scattered(offsets, everywhere, batch.ids.shape)

    if both is None:
        return lambda d: at(d, 0)
    return lambda d: {both.down_proj: at(d, 0), both.attn_out: at(d, 1)}


def _scattered(offsets: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
    """Offsets `[m, out]` at their places, zero elsewhere: `[n, t, out]`."""
    flat = offsets.new_zeros(shape[0] * shape[1], offsets.shape[1]).index_put((places,), offsets)
    return flat.view(*shape, -1)
