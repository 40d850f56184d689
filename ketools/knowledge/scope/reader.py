"""The learnt part: a small transformer that reads a fact's and a question's tokens side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ketools.knowledge.scope.features import MARKS, NUMBERS

HIDDEN = 384
WIDTH = 96
LAYERS = 2
HEADS = 4


@dataclass(frozen=True)
class Batch:
    """Pairs as tensors: tokens `[b, n, 384]`, marks `[b, n, MARKS]`, sides `[b, n]` (0 fact, 1 question, 2 padding)
    and numbers `[b, NUMBERS]`."""

    tokens: Tensor
    marks: Tensor
    sides: Tensor
    numbers: Tensor


class Reader(nn.Module):
    """Scores pairs: the logit that the question asks for the fact, `[b]`."""

    def __init__(self, width: int = WIDTH, layers: int = LAYERS, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Linear(HIDDEN, width)
        self.marks = nn.Linear(MARKS, width)
        self.side = nn.Embedding(2, width)
        self.numbers = nn.Sequential(nn.Linear(NUMBERS, width), nn.GELU())
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.mix = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Sequential(nn.Linear(3 * width, width), nn.GELU(), nn.Linear(width, 1))

    def forward(self, batch: Batch) -> Tensor:
        padding = batch.sides == 2
        told = self.numbers(batch.numbers)
        x = self.project(self.drop(batch.tokens)) + self.marks(batch.marks) + self.side(batch.sides.clamp(max=1))
        x = torch.cat([told[:, None], x], dim=1)
        mask = torch.cat([torch.zeros_like(padding[:, :1]), padding], dim=1)
        x = self.mix(x, src_key_padding_mask=mask)
        kept = (~padding).unsqueeze(-1)
        mean = (x[:, 1:] * kept).sum(1) / kept.sum(1).clamp(min=1)
        logits: Tensor = self.out(torch.cat([x[:, 0], mean, told], dim=1)).squeeze(-1)
        return logits


@dataclass(frozen=True)
class Item:
    """One pair before padding."""

    fact: Tensor
    asked: Tensor
    fact_marks: Tensor
    asked_marks: Tensor
    numbers: Tensor


def collate(items: Sequence[Item]) -> Batch:
    """Pairs padded to one length."""
    longest = max(len(item.fact) + len(item.asked) for item in items)
    tokens = torch.zeros(len(items), longest, HIDDEN)
    marks = torch.zeros(len(items), longest, MARKS)
    sides = torch.full((len(items), longest), 2)
    for i, item in enumerate(items):
        n, m = len(item.fact), len(item.asked)
        tokens[i, :n], tokens[i, n : n + m] = item.fact, item.asked
        marks[i, :n], marks[i, n : n + m] = item.fact_marks, item.asked_marks
        sides[i, :n], sides[i, n : n + m] = 0, 1
    return Batch(tokens, marks, sides, torch.stack([item.numbers for item in items]))
