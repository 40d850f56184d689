"""Trains the head on the packaged texts and measures it on those that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from ketools.core.requests import Trait
from ketools.knowledge.manners.head import LABELS, Embeds, Floats, MannerHead
from ketools.knowledge.traits import classify

HELD_OUT = 5
"""One text in so many is kept back for measuring."""
STEPS = 2000
RATE = 5.0
DECAY = 1e-3
"""Gradient descent on the mean cross-entropy (nats) plus `DECAY` / 2 times the squared norm of the weights."""


@dataclass(frozen=True)
class MannerQuality:
    """Shares of held-out texts: told rightly by the head, by the lexicon, and alike by both; `n` texts.

    The lexicon takes a text in which no trait's words occur for one of no manner.
    """

    head: float
    lexicon: float
    agreement: float
    n: int


def labelled_texts() -> list[tuple[str, Trait | None]]:
    """The packaged texts with their traits."""
    content = (files("ketools.knowledge.manners") / "texts.txt").read_text("utf-8")
    found: list[tuple[str, Trait | None]] = []
    label: Trait | None = None
    for line in filter(None, content.splitlines()):
        if line.startswith("# "):
            label = None if line == "# neutral" else Trait(line[2:])
        else:
            found.append((line, label))
    return found


def train_manners(encoder: Embeds) -> tuple[MannerHead, MannerQuality]:
    """A head trained on four fifths of the texts, the same each time, and how good it is on the last."""
    texts = labelled_texts()
    held_out, training = texts[::HELD_OUT], [pair for i, pair in enumerate(texts) if i % HELD_OUT]
    head = _fit(encoder.encode([text for text, _ in training]), [LABELS.index(label) for _, label in training])
    rows = head.probabilities(encoder.encode([text for text, _ in held_out]))
    told = [LABELS[int(row.argmax())] for row in rows]
    words = [classify(text) for text, _ in held_out]
    right = [label for _, label in held_out]
    return head, MannerQuality(_share(told, right), _share(words, right), _share(told, words), len(right))


def _fit(vectors: Floats, labels: list[int]) -> MannerHead:
    x = vectors.astype(np.float64)
    wanted = np.eye(len(LABELS))[labels]
    weights, bias = np.zeros((len(LABELS), x.shape[1])), np.zeros(len(LABELS))
    for _ in range(STEPS):
        logits = x @ weights.T + bias
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        wrong = (likely / likely.sum(axis=1, keepdims=True) - wanted) / len(x)
        weights -= RATE * (wrong.T @ x + DECAY * weights)
        bias -= RATE * wrong.sum(axis=0)
    return MannerHead(weights.astype(np.float32), bias.astype(np.float32))


def _share(one: list[Trait | None], other: list[Trait | None]) -> float:
    return sum(a is b for a, b in zip(one, other, strict=True)) / len(one)
