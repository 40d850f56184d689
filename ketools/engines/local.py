"""The embedded engine: a transformers model in this process, serving any number of edit layers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, nullcontext
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest, ModelError
from ketools.core.pacing import Pacer
from ketools.core.requests import Prompt
from ketools.engines.base import Layers, Score, Spoken, cut, layers_of, pieces
from ketools.layers.composition import BASE, EditLayer, by_delta
from ketools.models.editable import EditableModel
from ketools.models.hooks import head_at, only_at
from ketools.models.loading import load_editable
from ketools.models.rows import Row, in_rows, laid_out
from ketools.models.structure import get_module
from ketools.models.text import encode_chat, encode_pairs, encode_prompt, length, pad, stop_ids

BATCH_TOKENS = 8192
"""The most tokens, padding included, that go through the model at once."""
BATCH_LOGITS = 2**26
"""The most logits that are held at once (256 MiB in fp32)."""
CALL_TOKENS = {"cpu": 128}
CALL_TOKENS_ELSEWHERE = 4096
"""What a call of the model costs besides its tokens, in tokens: padding worth less is cheaper than another call.

On a CPU as measured for the bundled model; an accelerator hardly notices a few thousand tokens.
"""
FEW = 0.75
"""When no more than this share of the rows of a batch is still being answered, the others are dropped from it."""
Pair = tuple[list[int], list[int]]
"""Token ids of a prompt and of a continuation."""


class LocalEngine:
    """Greedy generation and scoring with a transformers causal LM (see `ketools.engines.base.Engine`).

    Opening it raises `ModelError` for a broken directory. Calls raise `InvalidRequest` for empty or too
    long input and for a layer that was made for another model. Threads may call it at the same time,
    each under its own layer.
    """

    def __init__(self, model: EditableModel | str | Path, device: str | torch.device = "cpu") -> None:
        loaded = model if isinstance(model, EditableModel) else load_editable(model, device)
        self._em: EditableModel | None = loaded
        self._stops = stop_ids(loaded)
        self.model_name = loaded.name
        self.model_hash = loaded.model_hash
        last_block = get_module(loaded.model, loaded.structure.blocks[-1].name)  # also of runs that skip the first ones
        pacer = Pacer()
        self._pacing = last_block.register_forward_pre_hook(lambda *_: pacer.step())

    @property
    def editable(self) -> EditableModel:
        """The model that is served; an editor may share it, for nothing ever writes to its weights."""
        if self._em is None:
            raise ModelError("This engine is closed; open a new LocalEngine.")
        return self._em

    def generate(
        self,
        prompts: Sequence[Prompt],
        layer: Layers = BASE,
        *,
        max_new_tokens: int = 32,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Greedy answers, stripped, cut at the model's end of turn or behind the first of the `stop`s."""
        rows = [encode_prompt(self.editable, prompt) for prompt in prompts]
        layers, answers = layers_of(layer, len(rows)), [""] * len(rows)
        for batch in _batches([len(row) + max_new_tokens for row in rows]):
            found = self._answers([rows[i] for i in batch], [layers[i] for i in batch], max_new_tokens, stop)
            for i, ids in zip(batch, found, strict=True):
                answers[i] = cut(self._text(ids), stop).strip()
        return answers

    def stream(self, prompt: Prompt, layer: EditLayer = BASE, *, max_new_tokens: int = 32) -> Iterator[str]:
        """Pieces of the greedy answer; together they are what `generate` returns. Close it to cancel."""
        yield from pieces(self._texts(encode_prompt(self.editable, prompt), layer, max_new_tokens))

    def _texts(self, row: list[int], layer: EditLayer, max_new_tokens: int) -> Iterator[str]:
        """The answer so far, after each token."""
        ids: list[int] = []
        for tokens, _ in self._decode([row], [layer], max_new_tokens, {0}):
            if tokens[0] in self._stops:
                break
            ids.append(tokens[0])
            yield self._text(ids)

    def chat(
        self,
        messages: Sequence[dict[str, Any]],
        layer: EditLayer = BASE,
        *,
        tools: Sequence[dict[str, Any]] = (),
        max_new_tokens: int = 160,
    ) -> str:
        """The assistant's raw next turn, tool-call markers included."""
        row = encode_chat(self.editable, messages, tools)
        (ids,) = self._answers([row], [layer], max_new_tokens)
        return self._text(ids, skip_special=False).strip()

    def read(self, prompt: Prompt, tools: Sequence[dict[str, Any]] = ()) -> list[int]:
        """The token ids of a prompt, with room for an answer."""
        is_chat = not isinstance(prompt, str)
        messages = [dict(message) for message in prompt if not isinstance(message, str)]
        row = encode_chat(self.editable, messages, tools) if is_chat else encode_prompt(self.editable, prompt)
        self._require_room(len(row), room=1)
        return row

    def speak(self, row: list[int], layer: EditLayer = BASE, *, max_new_tokens: int, top: int = 0) -> Iterator[Spoken]:
        """The greedy next tokens, each with its log probability, up to the one that ends the turn."""
        for tokens, logits in self._decode([row], [layer], max_new_tokens, {0}):
            logprobs = logits[0].float().log_softmax(-1)
            best = logprobs.topk(top)
            likeliest = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
            ends = tokens[0] in self._stops
            yield Spoken(tokens[0], float(logprobs[tokens[0]]), likeliest, ends)
            if ends:
                return

    def text(self, ids: Sequence[int], *, special: bool = False) -> str:
        """Token ids as text."""
        return self._text(list(ids), skip_special=not special)

    def score(self, prompts: Sequence[Prompt], continuations: Sequence[str], layer: Layers = BASE) -> list[Score]:
        """Teacher-forced scores of `continuations[i]` after `prompts[i]`; what many begin with is computed once."""
        pairs = encode_pairs(self.editable, prompts, continuations)
        self._require_room(max((len(p) + len(c) for p, c in pairs), default=0))
        scores: dict[int, Score] = {}
        for one, places in by_delta(layers_of(layer, len(pairs))):
            scores.update(zip(places, self._scores([pairs[i] for i in places], one), strict=True))
        return [scores[i] for i in range(len(pairs))]

    def room(self, prompt: Prompt, continuation: str = "") -> int:
        """How many tokens the model can read after the prompt and what continues it; below 1 it cannot go on."""
        return self.editable.context_length - length(self.editable, prompt, continuation)

    def logits(self, prompts: Sequence[Prompt], layer: EditLayer = BASE) -> Tensor:
        """Next-token logits `[n, vocabulary]` after each prompt, for comparing layers bit for bit."""
        rows = [encode_prompt(self.editable, prompt) for prompt in prompts]
        out: dict[int, Tensor] = {}
        for batch in _batches([len(row) for row in rows]):
            last = self._forward(*self._left_padded([rows[i] for i in batch]), layer).logits[:, -1]
            out.update(zip(batch, last, strict=True))
        return torch.stack([out[i] for i in range(len(rows))])

    def apply_layer(self, layer: EditLayer) -> float:
        """Compile the layer, which is always exact. `InvalidRequest` unless every change is finite and fits."""
        self.editable.switch.check(layer)
        for name, delta in layer.deltas.items():
            if not delta.finite:
                raise InvalidRequest(
                    f"The layer's change of {name!r} holds NaN or infinity. Undo the edit that made it."
                )
        layer.deltas_on(self.editable.device)
        return 0.0

    def hold(self, layer: EditLayer) -> None:
        """Nothing to do: layers are exact as they are."""

    def close(self) -> None:
        """Let go of the model; calls made later raise `ModelError`."""
        self._pacing.remove()
        self._em = None

    def _answers(
        self, rows: list[list[int]], layers: Sequence[EditLayer], max_new_tokens: int, stop: Sequence[str] = ()
    ) -> list[list[int]]:
        """The new ids of each row, without the one that ended it; with a stop, up to the token that completes it."""
        answers: list[list[int]] = [[] for _ in rows]
        budgets = [min(max_new_tokens, self.editable.context_length - len(row)) for row in rows]
        going = set(range(len(rows)))
        for tokens, _ in self._decode(rows, layers, max_new_tokens, going):
            going -= {i for i in going if tokens[i] in self._stops}
            for i in going:
                answers[i].append(tokens[i])
            going -= {i for i in going if len(answers[i]) >= budgets[i] or self._stopped(answers[i], stop)}
            if not going:
                break
        return answers

    def _stopped(self, ids: list[int], stop: Sequence[str]) -> bool:
        """Whether one of the stops has just been completed: its last token is the last of these."""
        if not any(stop):
            return False
        end = self._text(ids[-4 * max(map(len, stop)) :])  # a token is at least a byte
        return any(one in end for one in stop)

    def _decode(
        self, rows: list[list[int]], layers: Sequence[EditLayer], max_new_tokens: int, going: Set[int]
    ) -> Iterator[tuple[dict[int, int], Tensor]]:
        """The greedy next ids by row, each under its own layer, step by step; layers are in use only in a step.
        With the logits that they come from.

        Rows that are taken out of `going` between steps are not computed for long.
        """
        if max_new_tokens < 1:
            raise InvalidRequest(f"max_new_tokens is {max_new_tokens}; it must be at least 1.")
        limit = self.editable.context_length
        ids, mask, positions = self._left_padded(rows, room=1)
        cache, kept = None, list(range(len(rows)))
        for _ in range(min(max_new_tokens, limit - min(map(len, rows)))):
            out = self._forward(ids, mask, positions, [layers[i] for i in kept], cache=cache, use_cache=True)
            cache, tokens = getattr(out, self.editable.cache_name), out.logits[:, -1].argmax(-1)
            yield dict(zip(kept, tokens.tolist(), strict=True)), out.logits[:, -1]
            # Rows that have used up the context may run along for a while.
            positions = (positions[:, -1:] + 1).clamp(max=limit - 1)
            mask = torch.cat([mask, mask.new_ones(len(kept), 1)], dim=1)
            if len(going) <= FEW * len(kept):
                left = torch.tensor([k for k, i in enumerate(kept) if i in going], device=ids.device)
                kept = [i for i in kept if i in going]
                tokens, mask, positions = tokens[left], mask[left], positions[left]
                cache.batch_select_indices(left)
            ids = tokens[:, None]

    def _scores(self, pairs: Sequence[Pair], layer: EditLayer) -> list[Score]:
        """The last token of a continuation is not read: nothing is predicted from it."""
        rows = in_rows([p + c[:-1] for p, c in pairs], share=len(pairs) > 1 and self._may_share(pairs))
        sizes = [(len(row.ids), sum(len(pairs[i][1]) for i in row.columns)) for row in rows]
        vocabulary = int(self.editable.model.config.get_text_config().vocab_size)
        most_padding = CALL_TOKENS.get(self.editable.device.type, CALL_TOKENS_ELSEWHERE)
        scores: dict[int, Score] = {}
        for batch in _scored_together(sizes, BATCH_LOGITS // vocabulary, most_padding):
            scores.update(self._score(pairs, [rows[k] for k in batch], layer))
        return [scores[i] for i in range(len(pairs))]

    def _score(self, pairs: Sequence[Pair], rows: Sequence[Row], layer: EditLayer) -> Iterator[tuple[int, Score]]:
        """The head and the FFN before it run only where a token of a continuation is predicted: `m` places."""
        em = self.editable
        ids, mask, positions = laid_out(em, rows, em.model.dtype)
        held = [(k, i, columns) for k, row in enumerate(rows) for i, columns in row.columns.items()]
        places = [(k, column) for k, i, columns in held for column in columns[len(pairs[i][0]) - 1 :]]
        at, columns = torch.tensor(places, device=ids.device).T
        wanted = torch.tensor([token for _, i, _ in held for token in pairs[i][1]], device=ids.device)
        with self._reading(at, columns):
            logits = self._forward(ids, mask, positions, layer, keep=0).logits[0].float()  # [m, vocabulary]
        chosen = logits.gather(-1, wanted[:, None])
        logprobs = iter((chosen - logits.logsumexp(-1, keepdim=True)).squeeze(-1).tolist())
        ranks = iter((logits > chosen).sum(-1).tolist())
        for _, i, _ in held:
            n = len(pairs[i][1])
            yield i, Score(tuple(islice(logprobs, n)), tuple(islice(ranks, n)))

    @contextmanager
    def _reading(self, rows: Tensor, columns: Tensor) -> Iterator[None]:
        """While open, logits `[1, m, vocabulary]` are made of those places, and little else."""
        em, ffn = self.editable, self.editable.structure.blocks[-1].ffn
        with head_at(em, rows, columns), only_at(em, ffn, rows, columns) if ffn else nullcontext():
            yield

    def _may_share(self, pairs: Sequence[Pair]) -> bool:
        """A sliding window would count columns of a row, not tokens of a sequence; within one they are the same."""
        window = getattr(self.editable.model.config.get_text_config(), "sliding_window", None)
        return self._sees_by_mask and all(len(p) + len(c) <= (window or len(p) + len(c)) for p, c in pairs)

    @cached_property
    def _sees_by_mask(self) -> bool:
        """Whether sequences beside one another in a row score as they do alone; tried once on three short ones."""
        pairs = [([5, 6], [7, 8]), ([5, 6], [8, 7]), ([6], [5, 6])]
        both = (in_rows([p + c[:-1] for p, c in pairs], share) for share in (True, False))
        beside, alone = (dict(self._score(pairs, rows, BASE)) for rows in both)
        return all(abs(beside[i].total - alone[i].total) < 1e-3 for i in alone)

    def _require_room(self, longest: int, room: int = 0) -> None:
        limit = self.editable.context_length - room
        if longest > limit:
            raise InvalidRequest(f"The text is {longest} tokens long; this model reads at most {limit}. Shorten it.")

    def _left_padded(self, rows: list[list[int]], room: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """`input_ids`, `attention_mask` and `position_ids`, each `[n, longest]`; ends are aligned."""
        self._require_room(max(map(len, rows)), room)
        ids, mask = pad(self.editable, rows, left=True)
        return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)

    def _forward(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        layer: Layers,
        *,
        keep: int = 1,
        cache: object = None,
        use_cache: bool = False,
    ) -> Any:
        em = self.editable
        with torch.no_grad(), em.switch.use(layer):
            return em.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                use_cache=use_cache,
                logits_to_keep=keep,
                **{em.cache_name: cache},
            )

    def _text(self, ids: list[int], skip_special: bool = True) -> str:
        decode = self.editable.tokenizer.decode
        return str(decode(ids, skip_special_tokens=skip_special, clean_up_tokenization_spaces=False))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices in batches of similar length, each within the token bound (or a single row)."""
    order = iter(sorted(range(len(lengths)), key=lambda i: -lengths[i]))
    for longest in order:
        rows = BATCH_TOKENS // max(lengths[longest], 1)
        yield [longest, *islice(order, max(rows - 1, 0))]


def _scored_together(sizes: Sequence[tuple[int, int]], most_predicted: int, most_padding: int) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, each within the bounds (or a single row), the longest first.

    `sizes`: tokens and predicted tokens of each row. The bounds: tokens with padding, predicted tokens, padding.
    """
    batch: list[int] = []
    longest = padding = predicted = 0
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i][0]):
        length, new = sizes[i]
        full = (len(batch) + 1) * longest > BATCH_TOKENS or predicted + new > most_predicted
        if batch and (full or padding + longest - length > most_padding):
            yield batch
            batch, padding, predicted = [], 0, 0
        longest = longest if batch else length
        padding, predicted = padding + longest - length, predicted + new
        batch.append(i)
    if batch:
        yield batch
