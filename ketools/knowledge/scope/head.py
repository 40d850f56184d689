"""The trained head with its encoder: how likely a text asks for a fact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ketools.core.errors import ModelError
from ketools.core.names import name_words
from ketools.knowledge.scope.facts import Asking
from ketools.knowledge.scope.features import marks, numbers, side
from ketools.knowledge.scope.minilm import Read, TokenEncoder
from ketools.knowledge.scope.reader import Item, Reader, collate

PACKAGED = Path(__file__).parent / "weights" / "scope.safetensors"
BATCH = 64


@dataclass(frozen=True)
class ScopeHead:
    """Scores pairs of a fact's phrasing and a question. Thread-safe.

    `about`: how it was trained: the files' names and SHA-256, rows, seed.
    """

    reader: Reader
    encoder: TokenEncoder
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path = PACKAGED, encoder: TokenEncoder | None = None) -> ScopeHead:
        """Read trained weights. Raises `ModelError` when the file is absent or broken."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["about"])
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
            reader = Reader(about["width"], about["layers"])
            reader.load_state_dict(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise ModelError(f"The scope head {path} cannot be read ({error}). Run: ketools train-scope") from error
        return cls(reader.eval(), encoder or TokenEncoder(), about)

    def save(self, path: Path) -> None:
        """Write the weights in half precision, with what they were trained on."""
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.half().contiguous() for name, tensor in self.reader.state_dict().items()}
        save_file(tensors, path, {"about": json.dumps(dict(self.about), sort_keys=True)})

    def scores(self, askings: Sequence[Asking]) -> list[float]:
        """The probability of each pair, between 0 and 1; 1 for a question in the fact's own words.

        Raises `ModelError` when the encoder is absent or broken.
        """
        if not askings:
            return []
        texts = list(dict.fromkeys(text for a in askings for text in (a.phrasing, a.question)))
        read = dict(zip(texts, self.encoder.read(texts), strict=True))
        items = [item_of(a, read[a.phrasing], read[a.question]) for a in askings]
        found: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(items), BATCH):
                found += torch.sigmoid(self.reader(collate(items[start : start + BATCH]))).tolist()
        return [1.0 if _same_words(a) else score for a, score in zip(askings, found, strict=True)]


def item_of(asking: Asking, fact: Read, question: Read) -> Item:
    """One pair as the reader takes it."""
    a, b = side(asking.phrasing, asking.subject), side(asking.question, asking.subject)
    cosine = float(fact.sentence @ question.sentence)
    return Item(
        fact.hidden,
        question.hidden,
        marks(a, b, fact),
        marks(b, a, question),
        numbers(asking.subject, a, b, cosine),
    )


def _same_words(asking: Asking) -> bool:
    return name_words(asking.phrasing) == name_words(asking.question)
