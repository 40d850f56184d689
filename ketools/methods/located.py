"""Editing many facts at once: values optimised together, then written layer by layer (MEMIT, section 4.3).

MEMIT, EMMET, AlphaEdit and PMET differ in how keys become an update, in what is optimised, and in how the change
is spread over the layers. Each request's part of the joint update is an artefact of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import cast

import torch
from torch import Tensor

from ketools.core.errors import Diverged
from ketools.core.progress import Progress
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.methods.base import Compute, EditContext
from ketools.methods.configs import JointConfig
from ketools.methods.low_rank import added
from ketools.methods.support import batches_of, for_locating, in_round, portion, resolve_layers
from ketools.models.batch import Batch, chunks, edits_only, merged
from ketools.models.keys import Keys, condensed, preserved_keys, read_keys, standing
from ketools.models.options import Schedule
from ketools.models.sites import sites_of
from ketools.models.targets import TargetOutcome, compute_z

Factors = dict[str, tuple[Tensor, Tensor]]
"""A `[n, in]` and B `[out, n]` by module."""


@dataclass(frozen=True)
class Rule:
    """What sets one method apart.

    `depths`: first and last block, as shares of the model. `rows(context, module, keys)`: A `[values, in]`.
    `part(remaining)`: the share of what is missing that a layer writes when so many are left, itself included.
    `attention`: the attention's output is optimised too, and the FFN's own output is what must be reached.
    """

    method: str
    depths: tuple[float, float]
    rows: Callable[[EditContext, str, Keys], Tensor]
    part: Callable[[int], float] = lambda remaining: 1 / remaining
    attention: bool = False


def jointly(rule: Rule) -> Compute:
    """A computation of all requests at once. It raises `Diverged`, `InvalidRequest`."""
    return lambda requests, context: _Joint.of(rule, requests, context).edited()


@dataclass
class _Joint:
    """A batch of requests on its way into the weights.

    `batches`, `schedules`: of each request; `values`: how many it has. `preserved`: by module, the keys of what is to
    stay, as they are before any of these edits. `made`: what all of them have come to in so many `rounds`, the rows of
    each request together; `residual`: the largest share of a request's change that its rank could not hold.
    """

    rule: Rule
    context: EditContext
    blocks: Sequence[int]
    batches: Sequence[Batch]
    schedules: Sequence[Schedule]
    values: Sequence[int]
    preserved: Mapping[str, Tensor]
    made: Factors = field(default_factory=dict)
    rounds: int = 0
    residual: float = 0.0

    @classmethod
    def of(cls, rule: Rule, requests: Sequence[EditRequest], context: EditContext) -> _Joint:
        em, config = context.require_model(), cast(JointConfig, context.config)
        blocks = resolve_layers(config.layers, len(em.structure.blocks), rule.depths)
        modules = [em.structure.blocks[block].down_proj for block in blocks]
        context.require_covariances().prepare(
            context.require_model(), modules, context.progress, ends=config.prompts > 0
        )
        configs = [for_locating(config, request) for request in requests]
        alone = config.fact_token == "prompt_last"
        preserved = {name: torch.zeros(0, em.structure.linear_names[name][0], device=em.device) for name in modules}
        batches: list[Batch] = []
        made = batches_of(requests, context, configs, teach_implied=alone)
        for some, _ in chunks(em, ((batch, None) for batch in made), padded=False):
            context.progress(0, 1000, f"{len(batches) + len(some)} of {len(requests)} edits: reading what is to stay")
            if config.spare:
                with em.switch.use(context.layer):
                    found = preserved_keys(em, merged(em, some), config.fact_token, modules)
                preserved = {name: condensed([preserved[name], found[name]]) for name in modules}
            # Where a value stands in its own prompts only, nothing else can change.
            batches += map(edits_only, some) if alone else some
        schedules = [one.schedule for one in configs]
        values = [int(sites_of(batch, config.fact_token).slots) for batch in batches]
        return cls(rule, context, blocks, batches, schedules, values, preserved)

    @property
    def config(self) -> JointConfig:
        return cast(JointConfig, self.context.config)

    def _groups(self) -> Iterator[Batch]:
        """The contexts of all edits, as many together as fit into memory."""
        em = self.context.require_model()
        alone = ((edits_only(batch), None) for batch in self.batches)
        return (merged(em, some) for some, _ in chunks(em, alone, padded=False, held=self._numbers()))

    @property
    def state(self) -> str:
        """The module whose output the edits aim at."""
        last = self.context.require_model().structure.blocks[self.blocks[-1]]
        return last.down_proj if self.rule.attention else last.name

    def edited(self) -> list[Artefact]:
        """One change per request."""
        em, token = self.context.require_model(), self.config.fact_token
        found: dict[int, TargetOutcome] = {}
        with em.switch.use(self._layer()):
            # Nothing that is written changes what the first block reads.
            first = read_keys(em, self._groups(), token, em.structure.blocks[self.blocks[0]].down_proj, self.state)
        for turn in range(self.config.rounds):
            with em.switch.use(self._layer()):
                if turn:
                    states, wanted = self._standing()
                    first = replace(first, states=states)
                else:
                    wanted = list(range(len(self.batches)))
                aims = self._aims(wanted, turn)
            if turn and not any(bool(aim.value.any()) for aim in aims.values()):
                break
            self._write(aims, first, turn)
            # The offsets themselves are looked at no more once they are written; a slice would hold on to them.
            found = {i: replace(aim, value=aim.value.new_empty(0)) for i, aim in aims.items()} | found
            del aims
            self.rounds += 1
        return self._artefacts([outcome for _, outcome in sorted(found.items())])

    def _standing(self) -> tuple[Tensor, list[int]]:
        """The states at all values `[values, out]`, and which requests are not certain enough yet."""
        em = self.context.require_model()
        states, confidences = zip(
            *(standing(em, group, self.config.fact_token, self.state) for group in self._groups()), strict=True
        )
        certain = enumerate(zip(torch.cat(confidences).tolist(), self.schedules, strict=True))
        return torch.cat(states), [i for i, (now, schedule) in certain if now < schedule.confidence]

    def _layer(self) -> EditLayer:
        """The context's layer with what has been made so far, under a name that no cache knows."""
        if not self.made:
            return self.context.layer
        pending = LowRankDelta(self.rule.method, dict(self.made))
        return self.context.layer.with_edits(LiveEdit("pending", uuid.uuid4().hex, pending))

    def _add(self, name: str, a: Tensor, b: Tensor) -> None:
        """Add to what has been made of a module, each request's change within the rank that it had at first."""
        if name not in self.made:
            self.made[name] = a, b
            return
        made_a, made_b = self.made[name]
        for own in self._slices():
            both = (made_a[own], made_b[:, own]), (a[own], b[:, own])
            (x, y), left = added(*both, own.stop - own.start)
            # In place: the arrays of a thousand requests are not held twice.
            made_a[own], made_b[:, own] = 0, 0
            made_a[own][: len(x)], made_b[:, own][:, : len(x)] = x, y
            self.residual = max(self.residual, left)

    def _slices(self) -> list[slice]:
        """Where each request's values stand among all."""
        ends = list(accumulate(self.values))
        return [slice(end - count, end) for end, count in zip(ends, self.values, strict=True)]

    def _aims(self, wanted: Sequence[int], turn: int) -> dict[int, TargetOutcome]:
        """For each wanted request the offsets `[values, out]` of its values at the last block.

        Many are optimised at once. Raises `Diverged` with all those that come to nothing at their first turn.
        """
        em, config, block = self.context.require_model(), self.config, self.blocks[-1]
        alone = config.fact_token == "prompt_last"
        aims: dict[int, TargetOutcome] = {}
        stuck: list[Diverged] = []
        labelled = ((self.batches[i], self.schedules[i]) for i in wanted)
        at = 0
        # Behind the last block nothing but single places is looked at.
        last = alone and block == len(em.structure.blocks) - 1
        for batches, schedule in chunks(em, labelled, padded=not last, held=self._numbers()):
            chosen, batch = wanted[at : at + len(batches)], merged(em, batches)
            progress = portion(self._progress(turn), at, len(batches), len(wanted))
            at += len(batches)
            sites = sites_of(batch, config.fact_token)
            try:
                found = compute_z(
                    em,
                    batch,
                    block,
                    sites,
                    schedule,
                    clamp=config.clamp,
                    attention=self.rule.attention,
                    required=not turn,
                    progress=progress,
                )
            except Diverged as error:
                error.which = tuple(chosen[i] for i in error.which)
                stuck.append(error)
                continue
            aims |= zip(chosen, found, strict=True)
        if stuck:
            raise Diverged(*stuck[0].args, which=[i for error in stuck for i in error.which])
        return aims

    def _numbers(self) -> int:
        """How many numbers the changes of all requests come to."""
        structure = self.context.require_model().structure
        sizes = [structure.linear_names[structure.blocks[block].down_proj] for block in self.blocks]
        return sum(self.values) * sum(map(sum, sizes))

    def _write(self, aims: Mapping[int, TargetOutcome], first: Keys, turn: int) -> None:
        """Each layer writes its part of what is still missing; requests without an aim are to stay as they are.

        `first`: what the first block reads. Later layers read keys that the earlier layers' updates have already
        changed.
        """
        em, rule = self.context.require_model(), self.rule
        keys = first
        for i, block in enumerate(self.blocks):
            name = em.structure.blocks[block].down_proj
            self._progress(turn)(900 + round(100 * i / len(self.blocks)), 1000, f"writing block {block}")
            if i:
                del keys  # the last block's are not held beside this one's
                with em.switch.use(self._layer()):
                    keys = read_keys(em, self._groups(), self.config.fact_token, name, self.state)
            spared = condensed([self.preserved[name], keys.spared])
            rows = rule.rows(self.context, name, replace(keys, spared=spared)).to(keys.means.device)
            offsets = self._offsets(aims, keys.states)
            missing = (offsets - (keys.states - first.states)) * rule.part(len(self.blocks) - i)
            self._add(name, rows, missing.T.clone())

    def _offsets(self, aims: Mapping[int, TargetOutcome], like: Tensor) -> Tensor:
        """The offset of every value `[values, out]`."""
        return torch.cat(
            [aims[i].value if i in aims else like.new_zeros(n, like.shape[1]) for i, n in enumerate(self.values)]
        )

    def _artefacts(self, outcomes: Sequence[TargetOutcome]) -> list[Artefact]:
        """Each request's share of everything that was written, which is given away module by module."""
        factors: list[Factors] = [{} for _ in outcomes]
        for name in list(self.made):
            a, b = self.made.pop(name)
            for parts, own in zip(factors, self._slices(), strict=True):
                parts[name] = a[own].clone(), b[:, own].clone()
        told: dict[str, float | int | str] = {
            "layers": ",".join(map(str, self.blocks)),
            "edits": len(self.batches),
            "rounds": self.rounds,
            "residual_energy": self.residual,
        }
        return [
            LowRankDelta(self.rule.method, parts, {**told, "steps": one.steps, "nll": one.nll, "kl": one.kl})
            for parts, one in zip(factors, outcomes, strict=True)
        ]

    def _progress(self, turn: int) -> Progress:
        return in_round(self.context.progress, turn, self.config.rounds)
