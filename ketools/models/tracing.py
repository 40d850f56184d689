"""Where a prediction is made: causal tracing (Meng et al. 2022, section 2) and the logit lens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import Prompt
from ketools.core.results import State
from ketools.models import hooks, text
from ketools.models.editable import EditableModel
from ketools.models.structure import Block, get_module

STATES: tuple[State, ...] = ("hidden", "ffn", "attention")
"""A block's output, and what its down projection and its attention's output projection put out."""

ROWS = 64
"""Runs that go through the model together."""


@dataclass(frozen=True)
class Trace:
    """What restoring single states does to a prediction whose subject is corrupted.

    `tokens`: the prompt's, as text; `subject`: first and last token of the subject. `answer`: the token, as text.
    `clean`, `corrupted`: its probability without and with noise on the subject. `restored`: per kind of state
    `[blocks, tokens]`, the probability with that state put back to what it was in the clean run.
    """

    tokens: tuple[str, ...]
    subject: tuple[int, int]
    answer: str
    clean: float
    corrupted: float
    restored: Mapping[State, Tensor]


def causal_trace(
    em: EditableModel,
    prompt: Prompt,
    subject: str,
    answer: str | None = None,
    *,
    noise: float = 3.0,
    samples: int = 8,
    window: float = 0.2,
    seed: int = 0,
    states: Sequence[State] = STATES,
    progress: Progress = quiet,
) -> Trace:
    """Trace the first token of an answer, the model's own unless one is given, through the given kinds of states.

    `noise`: standard deviation of what is added to the subject's embeddings, in their own standard deviations;
    effects are means over `samples` of it. FFN and attention outputs are restored over a stretch of `window`
    of the blocks around each, hidden states at one block. Many restorations share a forward pass.
    Raises `InvalidRequest` when the prompt does not name the subject, and what `progress` raises.
    """
    ids = text.encode_prompt(em, prompt)
    span = subject_span(em, prompt, subject)
    token = text.encode_pair(em, prompt, answer)[1][0] if answer else _predicted(em, ids)
    run = _Runs(em, ids, span, token, _noise(em, span, noise, samples, seed))
    restored: dict[State, Tensor] = {}
    for i, kind in enumerate(states):
        reach = 0 if kind == "hidden" else max(1, round(window * len(em.structure.blocks))) // 2
        rows = []
        for block in range(len(em.structure.blocks)):
            done, total = i * len(em.structure.blocks) + block, len(states) * len(em.structure.blocks)
            progress(done, total, f"restoring {kind} states")
            rows.append(run.restored(kind, block, reach))
        restored[kind] = torch.stack(rows)
    spoken = tuple(em.tokenizer.decode([one]) for one in ids)
    return Trace(spoken, span, em.tokenizer.decode([token]), run.clean, run.corrupted, restored)


def subject_span(em: EditableModel, prompt: Prompt, subject: str) -> tuple[int, int]:
    """First and last token of the subject's last occurrence. Raises `InvalidRequest` when there is none."""
    last = text.last_subject_token(em, prompt, subject)
    ids = text.encode_prompt(em, prompt)
    first = last
    while first > 0 and subject.lower() not in em.tokenizer.decode(ids[first : last + 1]).lower():
        first -= 1
    return first, last


def _predicted(em: EditableModel, ids: list[int]) -> int:
    with torch.no_grad():
        return int(em.model(input_ids=torch.tensor([ids], device=em.device), use_cache=False).logits[0, -1].argmax())


def _noise(em: EditableModel, span: tuple[int, int], noise: float, samples: int, seed: int) -> Tensor:
    """Noise for the subject's embeddings, `[samples, tokens of the subject, hidden]`."""
    embedding = get_module(em.model, em.structure.embed).weight
    assert isinstance(embedding, Tensor)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, span[1] - span[0] + 1, embedding.shape[1], generator=generator)
    return noise * float(embedding.detach().std()) * drawn.to(em.device)


class _Runs:
    """Corrupted runs of one prompt, with states restored."""

    def __init__(self, em: EditableModel, ids: list[int], span: tuple[int, int], token: int, noise: Tensor) -> None:
        self._em, self._ids, self._span, self._token, self._noise = em, ids, span, token, noise
        names = [_name(block, kind) for block in em.structure.blocks for kind in STATES]
        with torch.no_grad(), hooks.capture(em, names) as self._seen:
            self.clean = float(self._probabilities(1)[0])
        self.corrupted = float(self._corrupted([(-1, [])]))

    def restored(self, kind: State, block: int, reach: int) -> Tensor:
        """The answer's mean probability with the state of each token restored, `[tokens]`."""
        blocks = self._em.structure.blocks[max(0, block - reach) : block + reach + 1]
        names = [_name(one, kind) for one in blocks]
        wanted = [(column, names) for column in range(len(self._ids))]
        together = max(1, ROWS // len(self._noise))
        parts = [self._corrupted(wanted[i : i + together]) for i in range(0, len(wanted), together)]
        return torch.cat(parts)

    def _corrupted(self, wanted: list[tuple[int, list[str]]]) -> Tensor:
        """Mean probabilities over the noise, one per (column, modules) to restore there."""
        samples = len(self._noise)
        columns = [column for column, _ in wanted for _ in range(samples)]
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(hooks.edit_output(self._em, self._em.structure.embed, self._noisy))
            for name in wanted[0][1]:
                stack.enter_context(hooks.edit_output(self._em, name, self._restoring(name, columns)))
            return self._probabilities(len(columns)).view(len(wanted), samples).mean(1).cpu()

    def _noisy(self, embedded: Tensor) -> Tensor:
        first, last = self._span
        out = embedded.clone()
        out[:, first : last + 1] += self._noise.repeat(len(out) // len(self._noise), 1, 1)
        return out

    def _restoring(self, name: str, columns: list[int]) -> Callable[[Tensor], Tensor]:
        clean, rows = self._seen[name][0], torch.arange(len(columns))

        def restore(output: Tensor) -> Tensor:
            out = output.clone()
            out[rows, columns] = clean[columns]
            return out

        return restore

    def _probabilities(self, rows: int) -> Tensor:
        ids = torch.tensor([self._ids] * rows, device=self._em.device)
        logits = self._em.model(input_ids=ids, use_cache=False).logits[:, -1]
        found: Tensor = logits.float().softmax(-1)[:, self._token]
        return found


def _name(block: Block, kind: State) -> str:
    return {"hidden": block.name, "ffn": block.down_proj, "attention": block.attn_out}[kind]


@dataclass(frozen=True)
class LensReading:
    """What the model would say if it ended after a block: its likeliest token, and how likely the answer is."""

    block: int
    says: str
    probability: float
    rank: int


def logit_lens(em: EditableModel, prompt: Prompt, answer: str) -> list[LensReading]:
    """The head's reading of each block's output at the prompt's last token, for the answer's first token.

    `rank` 0 is the likeliest. Raises `InvalidRequest` for a model without a norm before its head.
    """
    if em.structure.final_norm is None:
        raise InvalidRequest(
            f"{em.name} has no norm before its head, so its blocks cannot be read; use causal tracing."
        )
    ids, (token, *_) = text.encode_pair(em, prompt, answer)
    return list(_readings(em, [state[-1] for state in _states(em, ids)], token))


def lens_says(em: EditableModel, prompt: Prompt, answer: str) -> list[bool]:
    """Per block, whether the head reads the whole answer off its output, each token likeliest after those before it.

    Nothing is read of a model without a norm before its head: the list is empty.
    """
    if em.structure.final_norm is None:
        return []
    ids, told = text.encode_pair(em, prompt, answer)
    norm, head = (get_module(em.model, name) for name in (em.structure.final_norm, em.structure.lm_head))
    with torch.no_grad():
        said = [head(norm(state[len(ids) - 1 :])).argmax(-1).tolist() for state in _states(em, ids + told[:-1])]
    return [one == told for one in said]


def _states(em: EditableModel, ids: list[int]) -> list[Tensor]:
    """Each block's output `[t, hidden]`."""
    names = [block.name for block in em.structure.blocks]
    with torch.no_grad(), hooks.capture(em, names) as seen:
        em.model(input_ids=torch.tensor([ids], device=em.device), use_cache=False)
    return [seen[name][0] for name in names]


def _readings(em: EditableModel, states: list[Tensor], token: int) -> Iterator[LensReading]:
    assert em.structure.final_norm is not None
    norm, head = (get_module(em.model, name) for name in (em.structure.final_norm, em.structure.lm_head))
    with torch.no_grad():
        for block, state in enumerate(states):
            chances = head(norm(state)).float().softmax(-1)
            yield LensReading(
                block=block,
                says=em.tokenizer.decode([int(chances.argmax())]),
                probability=float(chances[token]),
                rank=int((chances > chances[token]).sum()),
            )
