"""A softmax head over sentence embeddings: one class for each trait and one for none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ketools.core.requests import Trait
from ketools.knowledge.traits import classify

LABELS: tuple[Trait | None, ...] = (*Trait, None)
"""The classes, in the order of the head's rows; None for a text of no manner."""

Floats = NDArray[np.float32]


class Embeds(Protocol):
    """What turns texts into unit vectors `[n, d]`."""

    def encode(self, texts: Sequence[str]) -> Floats: ...


@dataclass(frozen=True)
class MannerHead:
    """Logits are `vectors @ weights.T + bias`; `weights [classes, d]`, `bias [classes]`."""

    weights: Floats
    bias: Floats

    @classmethod
    def load(cls) -> MannerHead:
        """The packaged head, for the packaged encoder."""
        with as_file(files("ketools.knowledge.manners") / "weights.safetensors") as path:
            stored = load_file(path)
        return cls(stored["weights"], stored["bias"])

    def save(self, path: Path) -> None:
        """Write the head."""
        save_file({"weights": self.weights, "bias": self.bias}, path)

    def probabilities(self, vectors: Floats) -> Floats:
        """Of each class, in the order of `LABELS`, `[n, classes]`."""
        logits = vectors @ self.weights.T + self.bias
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        found: Floats = likely / likely.sum(axis=1, keepdims=True)
        return found


@dataclass(frozen=True)
class Manner:
    """The trait that a text shows, if any, and how probable the head finds it.

    `agreed`: whether the lexicon of `ketools.knowledge.traits` tells the same.
    """

    trait: Trait | None
    probability: float
    agreed: bool


@dataclass(frozen=True)
class Manners:
    """Judges texts with the packaged head. `encoder` must be the packaged one; it is loaded when a text is judged."""

    encoder: Embeds
    head: MannerHead = field(default_factory=MannerHead.load)

    def judge(self, texts: Sequence[str]) -> list[Manner]:
        """The manner of each text; an empty one has none."""
        if not texts:
            return []
        rows = self.head.probabilities(self.encoder.encode(texts))
        return [_manner(text, row) for text, row in zip(texts, rows, strict=True)]

    def trait(self, text: str) -> Trait | None:
        """The trait that a text shows, if any."""
        return self.judge([text])[0].trait


def _manner(text: str, row: Floats) -> Manner:
    best = int(row.argmax())
    trait = LABELS[best] if text.strip() else None
    return Manner(trait, float(row[best]), classify(text) is trait)
