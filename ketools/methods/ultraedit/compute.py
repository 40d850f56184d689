"""UltraEdit's closed form, over hidden states and gradients at the target's tokens.

As in the paper, the change of a module is (H^T H + I)^-1 H^T V with V = -eta ||h||^2 g, from normalised hidden
states h and gradients g. Five things differ. Hidden states are scaled by the model's own statistics, which are what a
running normalisation tends to, so that an edit does not depend on which others were made before it. What is to be
preserved, and what is asked at the ends of other prompts, takes part with V = 0; it is read once, before the first
step. A step is lengthened until the target is certain, and no further, since one eta does not suit every model, and
shortened again where the steps of many together leave more undone. That is aimed at anew, for at most `rounds` steps.
Each request's part is cut to its rank where keys lie, not where the change is largest.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor

from ketools.core.errors import Diverged
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.adapters import factored_change
from ketools.methods.base import EditContext
from ketools.methods.low_rank import added, compressed
from ketools.methods.support import (
    batches_of,
    certainties,
    for_training,
    in_round,
    resolve_layers,
)
from ketools.methods.ultraedit.config import DEPTHS, UltraEditConfig
from ketools.models.batch import Batch, chunks, edits_only, merged
from ketools.models.editable import EditableModel
from ketools.models.keys import read
from ketools.models.targets import Objective

NAME = "ultraedit"

_NO_HELP = "A step along the gradient makes a target no more probable; lower lr, or choose other layers."

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""A `[n, in]` and B `[out, n]` by module."""


@dataclass(frozen=True)
class _Step:
    """One request's step: its part of the change, the length that it was given, and the loss there.

    `residual`: the energy that the rank left out, at most; `count`: how many steps these are together.
    """

    factors: Factors
    length: float
    nll: float
    residual: float = 0.0
    count: int = 1


def compute(requests: Sequence[EditRequest], context: EditContext) -> list[Artefact]:
    """All requests in one update, each with a part of its own. Raises `Diverged`, `InvalidRequest`."""
    em, config = context.require_model(), cast(UltraEditConfig, context.config)
    blocks = resolve_layers(config.layers, len(em.structure.blocks), DEPTHS)
    names = [em.structure.blocks[block].down_proj for block in blocks]
    context.require_covariances().prepare(context.require_model(), names, context.progress, ends=config.prompts > 0)
    scales = {name: _scale(context, name) for name in names}
    configs = [for_training(config, request) for request in requests]
    preserved = {name: _asked(context, name, scale) for name, scale in scales.items()}
    batches: list[Batch] = []
    made = batches_of(requests, context, configs, teach_implied=True)
    for some, _ in chunks(em, ((batch, None) for batch in made), padded=False):
        context.progress(0, 1000, f"{len(batches) + len(some)} of {len(requests)} edits: reading what is to stay")
        with em.switch.use(context.layer):
            _add_grams(preserved, em, merged(em, some), scales, kept=True, weight=config.preservation)
        batches += some
    taken: dict[int, _Step] = {}

    def certain(new: Iterable[_Step]) -> list[float]:
        with em.switch.use(_with_steps(context.layer, [*taken.values(), *new])):
            return certainties(em, batches)

    for turn in range(config.rounds):
        progress = in_round(context.progress, turn, config.rounds)
        with em.switch.use(_with_steps(context.layer, taken.values())):
            before = certainties(em, batches)
            wanted = [i for i, now in enumerate(before) if not turn or now < config.confidence]
            if not wanted:
                break
            progress(100, 1000, f"hidden states of {len(batches)} edits")
            metrics = _metrics(em, config, batches, scales, preserved)
            steps = _Round(em, config, blocks[0], scales, metrics, required=not turn).steps(batches, wanted, progress)
        steps = _taken_together(steps, certain, before, config.confidence)
        if not any(step.length for step in steps.values()):
            if not turn:
                raise Diverged(_NO_HELP, which=wanted)
            break
        taken |= {i: _after(taken[i], step, config.rank, metrics) if i in taken else step for i, step in steps.items()}
    return [_artefact(step) for _, step in sorted(taken.items())]


def _scale(context: EditContext, name: str) -> Tensor:
    """The root mean square of each of the module's inputs over the model's text, `[in]`."""
    c = context.require_covariances().covariance(context.require_model(), name, context.progress)
    return c.diagonal().clamp_min(1e-12).sqrt()


def _asked(context: EditContext, name: str, scale: Tensor) -> Tensor:
    """What the ends of prompts count for among what is preserved `[in, in]`, see `UltraEditConfig`."""
    config = cast(UltraEditConfig, context.config)
    if not config.prompts:
        return torch.zeros(len(scale), len(scale), dtype=torch.float64)
    ends = context.require_covariances().at_ends(context.require_model(), name, context.progress)
    return config.prompts * ends / scale / scale[:, None]


def _with_steps(layer: EditLayer, steps: Iterable[_Step]) -> EditLayer:
    made = [LowRankDelta(NAME, dict(step.factors)) for step in steps]
    return layer.with_edits(*(LiveEdit("pending", uuid.uuid4().hex, one) for one in made))


def _after(first: _Step, second: _Step, rank: int, metrics: Mapping[str, Tensor]) -> _Step:
    """Two steps as one change of at most that rank per module; the first's length and loss."""
    factors, residuals = {}, [first.residual]
    for name in first.factors:
        both = first.factors[name], second.factors[name]
        factors[name], left = added(*both, rank, metrics[name])
        residuals.append(left)
    return replace(first, factors=factors, residual=max(residuals), count=first.count + 1)


def _shortened(step: _Step, share: float) -> _Step:
    """That share of a step; the loss it tells stays that of the whole, which was found."""
    if share == 1.0:
        return step
    factors = {name: (a, share * b) for name, (a, b) in step.factors.items()}
    return replace(step, factors=factors, length=share * step.length)


def _missing(certain: Sequence[float], confidence: float) -> float:
    """By how many nats requests fall short of the confidence, on average."""
    return sum(max(0.0, math.log(confidence / max(now, 1e-30))) for now in certain) / len(certain)


def _taken_together(
    steps: Mapping[int, _Step],
    certain: Callable[[Iterable[_Step]], list[float]],
    before: Sequence[float],
    confidence: float,
) -> dict[int, _Step]:
    """The steps at the share of their lengths that `shared_length` finds best.

    `certain`: how certain each request is with such steps; `before`: without them.
    """

    def at(share: float) -> dict[int, _Step]:
        return {i: _shortened(step, share) for i, step in steps.items()}

    missing = partial(_missing, confidence=confidence)
    return at(shared_length(lambda share: missing(certain(at(share).values())), missing(before)))


SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)


def shared_length(missing: Callable[[float], float], before: float) -> float:
    """The share of everyone's step at which least is missing, 0 where none leaves less than `before`.

    The lengths were found some requests at a time, and the steps of a thousand add up where their keys meet. Steps that
    take half of what is missing away together are taken whole.
    """
    best, least = 0.0, before
    for share in SHARES:
        now = missing(share)
        if now < least:
            best, least = share, now
        elif best:
            break
        if share == 1.0 and now <= before / 2:
            break
    return best


def _artefact(step: _Step) -> Artefact:
    told = {"step": step.length, "nll": step.nll, "rounds": step.count}
    return LowRankDelta(NAME, dict(step.factors), {**told, "residual_energy": step.residual})


def _add_grams(
    grams: Mapping[str, Tensor],
    em: EditableModel,
    batch: Batch,
    scales: Mapping[str, Tensor],
    *,
    kept: bool = False,
    weight: float = 1.0,
) -> None:
    """Add w X^T X `[in, in]` per module: X its normalised inputs at the targets' tokens, or those at what is `kept`."""
    at = batch.kept if kept else batch.target
    if not len(at):
        return
    inputs, _ = read(em, batch, at, list(scales))
    for name, scale in scales.items():
        states = inputs[name].double().cpu() / scale
        grams[name].addmm_(states.T, states, alpha=weight)


def _metrics(
    em: EditableModel,
    config: UltraEditConfig,
    batches: Sequence[Batch],
    scales: Mapping[str, Tensor],
    preserved: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The Cholesky factor L `[in, in]`, in float64, of every module's system, from where the model stands now.

    L L^T = D (H^T H + K^T K + d I) D for inputs as they are, D being their scales, H what all edits read and K what is
    preserved, weighed. A change that cannot keep its rank loses least of what it does to these keys in this metric: the
    larger part of it may lie where no key is, and what it leaves alone it does by cancelling exactly.
    """
    grams = {name: gram.clone() for name, gram in preserved.items()}
    for found, _ in chunks(em, ((edits_only(batch), None) for batch in batches), padded=False):
        _add_grams(grams, em, merged(em, found), scales)
    for gram in grams.values():
        # The mean square of a normalised h is its width; damping is relative to that.
        gram.diagonal().add_(config.damping * len(gram))
    return {name: scales[name][:, None] * torch.linalg.cholesky(gram) for name, gram in grams.items()}


@dataclass(frozen=True)
class _Round:
    """Steps of many requests from where the model stands now. `first`: the first block that changes."""

    em: EditableModel
    config: UltraEditConfig
    first: int
    scales: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    required: bool
    stuck: list[int] = field(default_factory=list)

    def steps(
        self, batches: Sequence[Batch], wanted: Sequence[int], progress: Callable[[int, int, str], None]
    ) -> dict[int, _Step]:
        """A step for each wanted request. Raises `Diverged` with those whom no length helps, where one is required."""
        made: dict[int, _Step] = {}
        for found, _ in chunks(self.em, ((batches[i], None) for i in wanted)):
            chosen = wanted[len(made) : len(made) + len(found)]
            made |= zip(chosen, self._steps(found, chosen), strict=True)
            progress(100 + round(900 * len(made) / len(wanted)), 1000, f"{len(made)} of {len(wanted)} edits")
        if self.stuck:
            raise Diverged(_NO_HELP, which=self.stuck)
        return made

    def _steps(self, batches: Sequence[Batch], chosen: Sequence[int]) -> list[_Step]:
        batch = merged(self.em, batches)
        objective = Objective(self.em, batch, self.first)
        factors = self._of_length_one(objective, batch)
        owner = batch.owner[batch.target.rows]
        found = self._lengths(objective, factors, owner, batches)
        if self.required:
            self.stuck.extend(i for i, (length, _) in zip(chosen, found, strict=True) if not length)
        return [self._step(factors, owner == i, *one) for i, one in enumerate(found)]

    def _step(self, factors: Factors, own: Tensor, length: float, nll: float) -> _Step:
        """One request's step, within its rank: it is kept while the others' are taken."""
        parts, residuals = {}, [0.0]
        for name, (a, b) in factors.items():
            x, y, left = compressed(a[own], length * b[:, own], self.config.rank, self.metrics[name])
            parts[name] = x, y
            residuals.append(left)
        return _Step(parts, length, nll, max(residuals))

    def _of_length_one(self, objective: Objective, batch: Batch) -> Factors:
        """Factors A `[tokens, in]`, B `[out, tokens]` of the step of length 1, one row per token of a target."""
        names = list(self.scales)
        inputs, outputs = read(self.em, batch, batch.target, names, names)
        zeros = {name: self._zeros(batch, name) for name in names}
        losses = objective.losses({name: _adding(zero) for name, zero in zeros.items()})
        gradients = torch.autograd.grad(losses.nll.sum(), list(zeros.values()))
        factors = {}
        for (name, scale), gradient in zip(self.scales.items(), gradients, strict=True):
            k, out = (values[name].double().cpu() for values in (inputs, outputs))
            h, g = k / scale, gradient[batch.target.rows, batch.target.columns].double().cpu()
            size = out.square().mean().sqrt() / g.square().mean().sqrt().clamp_min(1e-30)
            v = -size * h.square().mean(1, keepdim=True) * g
            a = torch.cholesky_solve(k.T, self.metrics[name]).T
            factors[name] = (a.float().to(self.em.device), v.T.float().to(self.em.device))
        return factors

    def _zeros(self, batch: Batch, name: str) -> Tensor:
        width = self.em.structure.linear_names[name][1]
        return torch.zeros(*batch.ids.shape, width, device=self.em.device, requires_grad=True)

    def _lengths(
        self, objective: Objective, factors: Factors, owner: Tensor, batches: Sequence[Batch]
    ) -> list[tuple[float, float]]:
        """Each request's length of the step, and its nll there.

        The shortest at which every token of the target is certain enough, else the best, what is preserved counting:
        two requests that contradict each other would else lengthen their steps without end. 0 where none helps. A
        request is done when it is certain, or when `PATIENCE` lengths in turn were no better; its step then stays in
        place, and once half of the requests are done they are asked no more.
        """
        config = self.config
        with torch.no_grad():
            at = objective.losses(_scaled(factors, owner, [0.0] * len(batches)))
            searches = [Search(nll, nll, now >= config.confidence) for nll, now in _numbers(at.nll, at.confidence)]
            asked, length = list(range(len(batches))), config.lr
            for _ in range(config.tries):
                left = [i for i in asked if not searches[i].done]
                if not left:
                    break
                if 2 * len(left) <= len(asked):
                    asked, objective = left, Objective(self.em, merged(self.em, [batches[i] for i in left]), self.first)
                at = objective.losses(_scaled(factors, owner, [s.length if s.done else length for s in searches]))
                told = _numbers(at.nll, at.nll + config.preservation * at.kl, at.confidence)
                for i, (nll, total, now) in zip(asked, told, strict=True):
                    searches[i].see(length, nll, total, now >= config.confidence)
                length *= config.growth
        return [(search.length, search.nll) for search in searches]


PATIENCE = 3
"""Lengths in turn that are no better before a search ends: along one step the loss falls, then rises."""


@dataclass
class Search:
    """One request's search for the length of its step: the best so far, and for how many lengths it has been that.

    `least`: the loss at the best, what is preserved counting.
    """

    nll: float
    least: float
    done: bool
    length: float = 0.0
    since: int = 0

    def see(self, length: float, nll: float, total: float, certain: bool) -> None:
        """Take note of a further length, unless the search is done."""
        if self.done:
            return
        self.since += 1
        if total < self.least:
            self.length, self.nll, self.least, self.since = length, nll, total, 0
        self.done = certain or self.since >= PATIENCE


def _numbers(*values: Tensor) -> list[list[float]]:
    numbers: list[list[float]] = torch.stack(values, dim=1).tolist()
    return numbers


def _adding(zero: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: zero


def _scaled(factors: Factors, owner: Tensor, lengths: Sequence[float]) -> dict[str, Callable[[Tensor], Tensor]]:
    own = torch.tensor(lengths, device=owner.device)[owner]
    return {name: factored_change(a, b * own) for name, (a, b) in factors.items()}
