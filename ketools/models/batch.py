"""Contexts as one padded batch, with the positions at which an optimisation looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ketools.edits import Prompt
from ketools.errors import InvalidRequest
from ketools.models import text
from ketools.models.contexts import Contexts
from ketools.models.editable import EditableModel


@dataclass(frozen=True)
class Positions:
    """Places in a batch: `rows [m]`, `columns [m]`."""

    rows: Tensor
    columns: Tensor

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Batch:
    """Rows of tokens: the edit's contexts with the target, then the prompts to preserve.

    `ids`, `mask`: [n, t], padded on the right.
    `target`: where the target's tokens are predicted (one before each); `target_ids [m]`; `contexts` rows.
    `kept`: where the model's prediction is to stay: at each preserved answer.
    `subject`: the subject's last token in every row that names it.
    """

    ids: Tensor
    mask: Tensor
    contexts: int
    target: Positions
    target_ids: Tensor
    kept: Positions
    subject: Positions


def _positions(em: EditableModel, pairs: Sequence[tuple[int, int]]) -> Positions:
    """Rows and columns of (row, column) pairs."""
    table = torch.tensor(pairs, dtype=torch.long, device=em.device).reshape(-1, 2)
    return Positions(table[:, 0], table[:, 1])


def make_batch(
    em: EditableModel,
    contexts: Contexts,
    target: str,
    subject: str,
    *,
    preserve: bool = True,
    answer: int = 1,
    implied: Sequence[tuple[Prompt, str]] = (),
) -> Batch:
    """Tokenise the contexts with the target, and with `preserve` the prompts to leave alone.

    `answer`: how many tokens of the model's own answer to a preserved prompt are kept.
    `implied`: further prompts, each with a target of its own.
    Raises `InvalidRequest` when no context names the subject.
    """
    wanted = [*((prompt, target) for prompt in contexts.edit), *implied]
    edits = [text.encode_answer(em, prompt, wish) for prompt, wish in wanted]
    keep = (*contexts.same_subject, *contexts.neighbours) if preserve else ()
    prompts = [text.encode_prompt(em, prompt) for prompt in keep]
    rows = [*(a + b for a, b in edits), *greedy_rows(em, prompts, answer - 1)]
    ids, mask = text.pad(em, rows)
    targets = [(i, len(a) - 1 + j) for i, (a, b) in enumerate(edits) for j in range(len(b))]
    kept = [(len(edits) + i, len(p) - 1 + j) for i, p in enumerate(prompts) for j in range(answer)]
    return Batch(
        ids=ids,
        mask=mask,
        contexts=len(edits),
        target=_positions(em, targets),
        target_ids=torch.tensor([token for _, b in edits for token in b], device=em.device),
        kept=_positions(em, kept),
        subject=_subject_positions(em, contexts, keep, subject, len(edits)),
    )


def _subject_positions(
    em: EditableModel, contexts: Contexts, keep: Sequence[Prompt], subject: str, first_kept: int
) -> Positions:
    same = len(contexts.same_subject) if keep else 0
    named = [*enumerate(contexts.edit), *enumerate(keep[:same], start=first_kept)]
    pairs = [
        (row, text.last_subject_token(em, prompt, subject))
        for row, prompt in named
        if subject.lower() in _plain(prompt).lower()
    ]
    if not pairs:
        raise InvalidRequest(f"No prompt of the edit names the subject {subject!r}; name it in the prompt.")
    return _positions(em, pairs)


def _plain(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(m.get("content", "") for m in prompt)


def greedy_rows(em: EditableModel, prompts: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Each prompt followed by `tokens` tokens of the model's own greedy continuation."""
    rows = [list(prompt) for prompt in prompts]
    for _ in range(tokens if rows else 0):
        ids, mask = text.pad(em, rows)
        with torch.no_grad():
            logits = em.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for i, row in enumerate(rows):
            row.append(int(logits[i, len(row) - 1].argmax()))
    return rows
