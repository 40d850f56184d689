"""Prompts as token ids to one server under one model name, and its answers back as ids and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.engines.base import Score
from ketools.engines.vllm.client import ReplicaClient
from ketools.models.outline import Outline
from ketools.models.text import stop_ids

Pair = tuple[list[int], list[int]]

BATCH_PROMPTS = 64
"""The most prompts of one HTTP request."""


class Speech:
    """Everything goes over the wire as ids, so that every engine reads exactly the same prompt."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._stops = sorted(stop_ids(outline))

    def answers(
        self, client: ReplicaClient, model: str, rows: Sequence[list[int]], room: int, stop: Sequence[str] = ()
    ) -> list[list[int]]:
        """New greedy ids of each row, at most `room`, without the one that ended it; a stop may have some behind."""
        more = {"stop": list(stop)} if stop else {}
        return [self.cut(choice["token_ids"]) for choice in self._complete(client, model, rows, room, **more)]

    def scores(self, client: ReplicaClient, model: str, pairs: Sequence[Pair]) -> list[Score]:
        """Teacher-forced scores of each pair's second part after its first."""
        choices = self._complete(client, model, [p + c for p, c in pairs], 1, prompt_logprobs=0)
        return [_score(c, choice) for (_, c), choice in zip(pairs, choices, strict=True)]

    def stream(self, client: ReplicaClient, model: str, row: list[int], room: int) -> Iterator[list[int]]:
        """The greedy new ids so far, after each chunk; closing it aborts the generation."""
        ids: list[int] = []
        for chunk in client.stream_completions(self._body(model, [row], room)):
            ids += [i for choice in chunk["choices"] for i in choice.get("token_ids") or ()]
            yield self.cut(ids)

    def text(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Ids as text."""
        decode = self._outline.tokenizer.decode
        return str(decode(list(ids), skip_special_tokens=skip_special, clean_up_tokenization_spaces=False))

    def cut(self, ids: Sequence[int]) -> list[int]:
        """The ids before the one that ends the turn."""
        return list(ids[: next((i for i, token in enumerate(ids) if token in self._stops), len(ids))])

    def _complete(
        self, client: ReplicaClient, model: str, rows: Sequence[list[int]], max_tokens: int, **more: Any
    ) -> list[dict[str, Any]]:
        choices: list[dict[str, Any]] = []
        for start in range(0, len(rows), BATCH_PROMPTS):
            body = self._body(model, rows[start : start + BATCH_PROMPTS], max_tokens)
            choices += sorted(client.completions({**body, **more})["choices"], key=lambda c: int(c["index"]))
        return choices

    def _body(self, model: str, rows: Sequence[list[int]], max_tokens: int) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": list(rows),
            "max_tokens": max_tokens,
            "temperature": 0,
            "stop_token_ids": self._stops,
            "return_token_ids": True,
        }


def room_after(row: Sequence[int], wanted: int, limit: int) -> int:
    """How many tokens may follow the row. Raises `InvalidRequest` when none fit."""
    if wanted < 1:
        raise InvalidRequest(f"max_new_tokens is {wanted}; it must be at least 1.")
    if len(row) > limit - 1:
        raise InvalidRequest(f"The text is {len(row)} tokens long; this model reads at most {limit - 1}. Shorten it.")
    return min(wanted, limit - len(row))


def _score(continuation: list[int], choice: dict[str, Any]) -> Score:
    """Entry i of `prompt_logprobs` belongs to the prompt's i-th token; vLLM counts ranks from 1."""
    entries = choice["prompt_logprobs"][-len(continuation) :]
    chosen = [entry[str(token)] for entry, token in zip(entries, continuation, strict=True)]
    return Score(tuple(e["logprob"] for e in chosen), tuple(e["rank"] - 1 for e in chosen))
