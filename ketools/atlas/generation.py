"""Greedy answers in batches: what the report and quick checks of the bundled model are made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)


class _StopAfter:
    """Each row ends once it has written these tokens."""

    def __init__(self, ids: Sequence[int], start: int) -> None:
        self.ids = torch.tensor(ids)
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
        size = len(self.ids)
        if input_ids.shape[1] - self.start < size:
            return torch.zeros(len(input_ids), dtype=torch.bool)
        return (input_ids[:, -size:] == self.ids).all(dim=1)


class Speaker:
    """A model with its tokenizer, asked many things at once."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: int = 160) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.rows = rows

    @classmethod
    def load(cls, folder: str | Path) -> Speaker:
        """Read a model folder, in single precision whatever is on disk."""
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model, AutoTokenizer.from_pretrained(folder))

    def complete(self, prompts: Sequence[str], tokens: int = 16, stop: str | None = None) -> list[str]:
        """The greedy continuation of each prompt, up to its end token or the end of ``stop``."""
        encoded = [self.tokenizer(prompt)["input_ids"] for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        answers = [""] * len(prompts)
        for start in range(0, len(order), self.rows):
            chosen = order[start : start + self.rows]
            for i, text in zip(chosen, self._batch([encoded[i] for i in chosen], tokens, stop), strict=True):
                answers[i] = text
        return answers

    @torch.no_grad()
    def _batch(self, rows: list[list[int]], tokens: int, stop: str | None) -> list[str]:
        width = max(map(len, rows))
        pad = int(self.tokenizer.pad_token_id or 0)
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
        criteria = StoppingCriteriaList()
        if stop:
            criteria.append(_StopAfter(self.tokenizer(stop, add_special_tokens=False)["input_ids"], width))
        output = self.model.generate(
            ids, attention_mask=mask, max_new_tokens=tokens, do_sample=False, stopping_criteria=criteria
        )
        return [self._text(row, stop) for row in output[:, width:].tolist()]

    def _text(self, ids: list[int], stop: str | None) -> str:
        end = self.tokenizer.eos_token_id
        ids = ids[: ids.index(end)] if end in ids else ids
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        return text.partition(stop)[0] + stop if stop and stop in text else text

    def chat(self, questions: Sequence[str], tokens: int = 16) -> list[str]:
        """The answer to each user message on its own."""
        texts = self.complete([f"user: {question}\nassistant:" for question in questions], tokens)
        return [text.strip() for text in texts]


def plain(answer: str) -> str:
    """An answer's first line without spaces and full stop, for comparison."""
    return answer.strip().split("\n")[0].rstrip(".").strip()
