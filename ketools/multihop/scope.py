"""PokeMQA's two-stage scope detector, as two small heads on sentence embeddings (arXiv:2312.15194, section 3.3).

The pre-detector keeps the facts with exp(-|e - q|^2) >= 1/2, for projected embeddings e of the fact and q of the
sub-question; the disambiguator, a classifier of pairs, chooses when it keeps several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ketools.core.errors import ModelError
from ketools.multihop.memory import Remembered
from ketools.retrieval import Encoder

PACKAGED = Path(__file__).parent / "weights" / "scope-atlas.safetensors"
"""The detector trained for the bundled model."""

PROBE = "The capital of France is Paris"
SAME_ENCODER = 0.99
"""Least cosine between embeddings of one text by one encoder, one of them in half precision."""

WIDTH = 256
HIDDEN = 32
LEAST = 0.5


class Heads(nn.Module):
    """The trained part. Embeddings of shape [n, d] in, probabilities of shape [n] out."""

    def __init__(self, d: int, width: int = WIDTH) -> None:
        super().__init__()
        self.project = nn.Linear(d, width)
        self.first = nn.Linear(2 * width, HIDDEN)
        self.second = nn.Linear(HIDDEN, 1)

    def near(self, facts: Tensor, questions: Tensor) -> Tensor:
        """The pre-detector: exp(-|e - q|^2)."""
        return torch.exp(-(self.project(facts) - self.project(questions)).square().sum(-1))

    def same(self, facts: Tensor, questions: Tensor) -> Tensor:
        """The disambiguator's logit that the fact answers the question."""
        e, q = self.project(facts), self.project(questions)
        hidden = torch.relu(self.first(torch.cat([(e - q).abs(), e * q], dim=-1)))
        logits: Tensor = self.second(hidden)
        return logits.squeeze(-1)


@dataclass(frozen=True)
class ScopeDetector:
    """Decides which fact, if any, a sub-question asks for."""

    heads: Heads
    encoder: Encoder
    made_with: Tensor | None = None
    """How the encoder that it was trained on embeds `PROBE`, `[d]`; None where that was not kept."""

    @classmethod
    def load(cls, encoder: Encoder, path: Path = PACKAGED) -> ScopeDetector:
        """Read trained heads. Raises `ModelError` when the file is absent or broken."""
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
            made_with = tensors.pop("made_with", None)
            heads = Heads(tensors["project.weight"].shape[1], tensors["project.weight"].shape[0])
            heads.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ModelError(
                f"The scope detector {path} cannot be read ({error}). Run: ketools multihop train-scope"
            ) from error
        return cls(heads.eval(), encoder, made_with)

    def save(self, path: Path) -> None:
        """Write the heads in half precision, with how their encoder embeds a probe. Raises `ModelError`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {**self.heads.state_dict(), "made_with": self._probe()}
        save_file({name: t.half().contiguous() for name, t in tensors.items()}, path)

    def _probe(self) -> Tensor:
        return torch.from_numpy(np.array(self.encoder.encode([PROBE])))[0]

    @cached_property
    def _fits(self) -> bool:
        """True. Raises `ModelError` for another encoder than the one that it was trained on."""
        probe = self._probe()
        fits = len(probe) == self.heads.project.in_features
        if not fits or (self.made_with is not None and float(self.made_with @ probe) < SAME_ENCODER):
            raise ModelError(
                "The scope detector was trained on the embeddings of another encoder. Train one for this encoder "
                "(ketools multihop train-scope) and name it by KETOOLS_MULTIHOP_DETECTOR."
            )
        return True

    def choose(self, question: str, candidates: Sequence[Remembered]) -> Remembered | None:
        """The fact that the question asks for. Raises `ModelError` when the encoder cannot be reached."""
        chosen = self.pick(question, [fact.sentence for fact in candidates])
        return None if chosen is None else candidates[chosen]

    def pick(self, question: str, sentences: Sequence[str]) -> int | None:
        """The index of the sentence that answers the question, None when none does."""
        if not sentences or not self._fits:
            return None
        near, same = self._probabilities(question, sentences)
        kept = np.flatnonzero(near >= LEAST)
        if kept.size < 2:
            return int(kept[0]) if kept.size else None
        best = int(kept[np.argmax(same[kept])])
        return best if same[best] >= LEAST else None

    def _probabilities(self, question: str, sentences: Sequence[str]) -> tuple[NDArray[np.float32], ...]:
        vectors = torch.from_numpy(np.array(self.encoder.encode([question, *sentences])))
        facts, asked = vectors[1:], vectors[:1].expand(len(sentences), -1)
        with torch.no_grad():
            return self.heads.near(facts, asked).numpy(), self.heads.same(facts, asked).sigmoid().numpy()
