"""Documents as rows of tokens, with what may attend to what."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from ketools.atlas.corpus import mix
from ketools.atlas.corpus.document import Document, Part


@dataclass
class Encoded:
    """One document in tokens: loss weight, branch (0 is the prefix) and position of each."""

    ids: list[int]
    weights: list[float]
    branches: list[int]
    positions: list[int]


@dataclass
class Batch:
    """Rows of packed documents; ``allowed`` says which earlier tokens each token may see."""

    ids: torch.Tensor  # [rows, length]
    weights: torch.Tensor  # [rows, length]
    positions: torch.Tensor  # [rows, length]
    allowed: torch.Tensor  # [rows, 1, length, length]
    tokens: int


def spaced(parts: Sequence[Part], carry: str = "") -> tuple[list[Part], str]:
    """Move a trailing space to the part that follows, where the tokenizer puts it too."""
    moved: list[Part] = []
    for text, weight in parts:
        text = carry + text
        carry = " " if text.endswith(" ") else ""
        moved.append((text[: len(text) - len(carry)], weight))
    return moved, carry


def split_document(document: Document) -> list[list[Part]]:
    """The prefix and the branches with spaces where they belong."""
    prefix, carry = spaced(document.prefix)
    return [prefix, *(spaced(branch, carry)[0] for branch in document.branches)]


def encode(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[Encoded]:
    """Tokenise many documents in one call."""
    split = [split_document(document) for document in documents]
    texts = [text for document in split for parts in document for text, _ in parts]
    encoded = iter(tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False))
    done = []
    for document in split:
        item = Encoded([int(tokenizer.bos_token_id or 0)], [0.0], [0], [0])
        for branch, parts in enumerate(document):
            place = _prefix_length(item)
            for _, weight in parts:
                ids = next(encoded).ids
                item.ids += ids
                item.weights += [weight] * len(ids)
                item.branches += [branch] * len(ids)
                item.positions += range(place, place + len(ids))
                place += len(ids)
        done.append(item)
    return done


def _prefix_length(item: Encoded) -> int:
    return item.branches.count(0)


def pack(items: Sequence[Encoded], rows: int, length: int) -> list[list[Encoded]]:
    """Put documents into rows, each into the first that has room."""
    packed: list[list[Encoded]] = [[] for _ in range(rows)]
    room = [length] * rows
    for item in items:
        size = len(item.ids)
        for i in range(rows):
            if size <= room[i]:
                packed[i].append(item)
                room[i] -= size
                break
    return packed


def collate(packed: Sequence[Sequence[Encoded]], length: int, pad: int) -> Batch:
    """Rows as tensors."""
    shape = (len(packed), length)
    ids = torch.full(shape, pad)
    weights = torch.zeros(shape)
    positions = torch.zeros(shape, dtype=torch.long)
    owner = torch.zeros(shape, dtype=torch.long)
    branch = torch.zeros(shape, dtype=torch.long)
    for i, row in enumerate(packed):
        start = 0
        for number, item in enumerate(row, 1):
            part = slice(start, start + len(item.ids))
            ids[i, part] = torch.tensor(item.ids)
            weights[i, part] = torch.tensor(item.weights)
            positions[i, part] = torch.tensor(item.positions)
            branch[i, part] = torch.tensor(item.branches)
            owner[i, part] = number
            start = part.stop
    return Batch(ids, weights, positions, visible(owner, branch), int((owner > 0).sum()))


def visible(owner: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
    """A token sees earlier ones of its document that are in the prefix or in its own branch."""
    length = owner.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    reachable = (branch[:, None, :] == 0) | (branch[:, :, None] == branch[:, None, :])
    return (same & reachable & causal)[:, None]


def batch(tokenizer: PreTrainedTokenizerFast, shares: Mapping[str, float], seed: str, rows: int, length: int) -> Batch:
    """The batch that belongs to this seed: any step can be made again without the ones before it."""
    rng = random.Random(seed)
    documents = [mix.draw(rng, shares) for _ in range(DRAWN)]
    items: list[Encoded] = []
    budget = rows * length * 1.15
    for start in range(0, DRAWN, CHUNK):
        items += encode(tokenizer, documents[start : start + CHUNK])
        if sum(len(item.ids) for item in items) >= budget:
            break
    return collate(pack(items, rows, length), length, int(tokenizer.pad_token_id or 0))


DRAWN = 240
CHUNK = 20
