"""Trains the scope detector on pairs of fact and question: given ones, or made from the bundled world."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.text import digest
from ketools.knowledge.providers import any_provider
from ketools.knowledge.relations import RELATIONS
from ketools.multihop.scope import Heads, ScopeDetector
from ketools.retrieval import Encoder

PRE_NEGATIVES = 20
DIS_NEGATIVES = 1
"""Negatives per positive for pre-detector and disambiguator, as in the paper."""

BATCH = 64
LEARNING_RATE = 1e-3
HARD = 64
"""Of the facts nearest to a question, from which three in four negatives are drawn: random ones teach little."""


class Pair(BaseModel):
    """A fact's sentence and a question; `in_scope` says whether the fact answers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fact: str = Field(min_length=1, max_length=1000)
    question: str = Field(min_length=1, max_length=1000)
    in_scope: bool = True


class Quality(BaseModel):
    """How the detector does on pairs that it was not trained on.

    `found`: share of questions, their fact among all held-out facts, for which exactly it is chosen.
    `false`: share of questions, their fact taken out, for which another one is chosen.
    """

    found: float
    false: float
    n: int


@dataclass(frozen=True)
class Trained:
    """A detector and how good it is on held-out pairs."""

    detector: ScopeDetector
    quality: Quality


def known_pairs(seed: int = 0) -> list[Pair]:
    """Edits of a registered world's facts, each with its questions. Raises `InvalidRequest` without one."""
    rng, known = random.Random(seed), any_provider()
    pairs = []
    for subject, name in known.facts():
        relation = RELATIONS[name]
        if relation.private:
            continue
        sentence = f"{relation.statement(subject, known.other_target(rng, subject, name))}."
        pairs += [Pair(fact=sentence, question=q.format(s=subject)) for q in relation.questions]
    return pairs


def read_pairs(path: Path) -> list[Pair]:
    """Pairs from a JSON-lines file. Raises `InvalidRequest` naming the line that is wrong."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} cannot be read: {error}.") from error
    pairs = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                pairs.append(Pair.model_validate(json.loads(line)))
            except (json.JSONDecodeError, ValidationError) as error:
                raise InvalidRequest(
                    f'{path}, line {number} is no pair {{"fact": ..., "question": ..., "in_scope": true}}: {error}'
                ) from None
    return pairs


def train_scope(
    pairs: Sequence[Pair], encoder: Encoder, *, steps: int = 1200, seed: int = 0, progress: Progress = quiet
) -> Trained:
    """Train on three fifths of the facts, set the threshold on one, and measure on the last.

    Raises `InvalidRequest` when there are fewer than 40 facts with a question in scope.
    """
    fifths: list[list[Pair]] = [[], [], [], [], []]
    for pair in pairs:
        fifths[digest("scope", pair.fact) % 5].append(pair)
    held_out, calibrating, training = fifths[0], fifths[1], [*fifths[2], *fifths[3], *fifths[4]]
    enough = len({p.fact for p in training if p.in_scope}) >= 24
    if not enough or not all(any(p.in_scope for p in part) for part in (held_out, calibrating)):
        raise InvalidRequest("Training needs at least 40 facts with a question in scope each; give more pairs.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        table = _Table(training, encoder, progress)
        heads = _fit(table, steps, random.Random(seed), progress)
    _calibrate(heads, _Table(calibrating, encoder, progress))
    detector = ScopeDetector(heads.eval(), encoder)
    return Trained(detector, _quality(detector, held_out))


class _Table:
    """All embeddings, and for each positive pair the facts that do not answer its question, nearest first."""

    def __init__(self, pairs: Sequence[Pair], encoder: Encoder, progress: Progress) -> None:
        facts = list(dict.fromkeys(pair.fact for pair in pairs))
        questions = list(dict.fromkeys(pair.question for pair in pairs))
        self.facts = _embedded(facts, encoder, progress)
        self.questions = _embedded(questions, encoder, progress)
        row, column = {f: i for i, f in enumerate(facts)}, {q: i for i, q in enumerate(questions)}
        self.positives = [(row[p.fact], column[p.question]) for p in pairs if p.in_scope]
        answers = set(self.positives)
        near = (self.questions @ self.facts.T).topk(min(HARD, len(facts))).indices.tolist()
        self.hard = [[f for f in rows if (f, q) not in answers] for q, rows in enumerate(near)]
        for pair in pairs:
            if not pair.in_scope:
                self.hard[column[pair.question]].insert(0, row[pair.fact])

    def negatives(self, question: int, answer: int, count: int, rng: random.Random) -> list[int]:
        """Facts that do not answer the question."""
        found: list[int] = []
        while len(found) < count:
            hard = self.hard[question]
            fact = rng.choice(hard) if hard and rng.random() < 0.75 else rng.randrange(len(self.facts))
            if fact != answer:
                found.append(fact)
        return found


def _embedded(texts: Sequence[str], encoder: Encoder, progress: Progress) -> Tensor:
    rows = []
    for start in range(0, len(texts), 256):
        progress(start, len(texts), "embedding")
        rows.append(torch.from_numpy(encoder.encode(texts[start : start + 256])))
    return torch.cat(rows)


def _fit(table: _Table, steps: int, rng: random.Random, progress: Progress) -> Heads:
    heads = Heads(table.facts.shape[1])
    # Distances begin as those of the embeddings, stretched so that they part around the threshold.
    torch.nn.init.orthogonal_(heads.project.weight, gain=1.7)
    optimiser = torch.optim.AdamW(heads.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    for step in range(steps):
        if step % 50 == 0:
            progress(step, steps, "training")
        loss = _loss(heads, table, rng)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return heads


@torch.no_grad()
def _calibrate(heads: Heads, table: _Table) -> None:
    """Scale the projection so that p = 1/2 falls where facts in scope and others part best.

    Losing an edit costs as much as putting in a wrong one; the loss alone sets the threshold too strictly.
    """
    facts, questions = heads.project(table.facts), heads.project(table.questions)
    distances = torch.cdist(questions, facts).square()
    own = torch.tensor([distances[q, f] for f, q in table.positives])
    for f, q in table.positives:
        distances[q, f] = torch.inf
    others = distances[[q for _, q in table.positives]].min(dim=1).values
    thresholds = torch.quantile(own, torch.linspace(0.5, 1.0, 201))
    gains = [float((own <= t).float().mean() - (others <= t).float().mean()) for t in thresholds]
    best = thresholds[gains.index(max(gains))]
    scale = (math.log(2) / best).sqrt()
    heads.project.weight.mul_(scale)
    heads.project.bias.mul_(scale)
    width = heads.project.out_features  # the second stage sees what it saw before
    heads.first.weight[:, :width].div_(scale)
    heads.first.weight[:, width:].div_(scale.square())


def _loss(heads: Heads, table: _Table, rng: random.Random) -> Tensor:
    """Both stages at once: 20 negatives a positive for the first, the hardest for the second."""
    chosen = rng.choices(table.positives, k=BATCH)
    rows = [[fact, *table.negatives(question, fact, PRE_NEGATIVES, rng)] for fact, question in chosen]
    facts = table.facts[torch.tensor(rows)]
    questions = table.questions[torch.tensor([q for _, q in chosen])][:, None].expand_as(facts)
    wanted = torch.zeros(facts.shape[:2])
    wanted[:, 0] = 1.0
    near = heads.near(facts, questions)
    pre = binary_cross_entropy(near.clamp(1e-6, 1 - 1e-6), wanted, weight=1 + wanted * (PRE_NEGATIVES / 4))
    hardest = near[:, 1:].argmax(1) + 1
    two = torch.stack([torch.zeros_like(hardest), hardest], dim=1)[:, : 1 + DIS_NEGATIVES]
    pick = two[..., None].expand(-1, -1, facts.shape[-1])
    dis = binary_cross_entropy_with_logits(
        heads.same(facts.gather(1, pick), questions.gather(1, pick)), wanted.gather(1, two)
    )
    return pre + dis


def _quality(detector: ScopeDetector, held_out: Sequence[Pair]) -> Quality:
    pairs = [pair for pair in held_out if pair.in_scope]
    facts = list(dict.fromkeys(pair.fact for pair in pairs))
    found = false = 0
    for pair in pairs:
        place = facts.index(pair.fact)
        found += detector.pick(pair.question, facts) == place
        false += detector.pick(pair.question, facts[:place] + facts[place + 1 :]) is not None
    return Quality(found=found / len(pairs), false=false / len(pairs), n=len(pairs))
