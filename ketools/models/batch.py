"""Contexts of one or many requests as one padded batch, with the positions at which an optimisation looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.core.footprint import give_back
from ketools.core.requests import Prompt
from ketools.models import hooks, text
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
    """Rows of tokens: the edits' contexts with their targets, then the prompts to preserve.

    `ids`, `mask`: [n, t], padded on the right. `owner [n]`: which of the `requests` requests a row belongs to.
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
    owner: Tensor
    requests: int = 1


def merged(em: EditableModel, batches: Sequence[Batch]) -> Batch:
    """Many requests' batches as one: all their contexts, then all their preserved prompts."""
    if len(batches) == 1:
        return batches[0]
    places = [(i, row) for i, batch in enumerate(batches) for row in range(batch.contexts)]
    contexts = len(places)
    places += [(i, row) for i, batch in enumerate(batches) for row in range(batch.contexts, len(batch.ids))]
    at = {place: row for row, place in enumerate(places)}
    ids, mask = text.pad(em, [batches[i].ids[row][batches[i].mask[row].bool()].tolist() for i, row in places])

    def moved(name: str) -> Positions:
        found = [(i, getattr(batch, name)) for i, batch in enumerate(batches)]
        pairs = [
            (at[i, row], column)
            for i, positions in found
            for row, column in zip(positions.rows.tolist(), positions.columns.tolist(), strict=True)
        ]
        return _positions(em, pairs)

    return Batch(
        ids=ids,
        mask=mask,
        contexts=contexts,
        target=moved("target"),
        target_ids=torch.cat([batch.target_ids for batch in batches]),
        kept=moved("kept"),
        subject=moved("subject"),
        owner=torch.tensor([i for i, _ in places], device=em.device),
        requests=len(batches),
    )


CHUNK_ACTIVATIONS = 50_000_000
"""Tokens x width x blocks of a chunk: bounds memory however many requests there are."""
CHUNK_TOKENS = 8_192

Label = TypeVar("Label")


def chunks(
    em: EditableModel, items: Iterable[tuple[Batch, Label]], *, padded: bool = True, held: int = 0
) -> Iterator[tuple[list[Batch], Label]]:
    """Neighbouring batches with the same label that fit into memory together; at least one at a time.

    `padded`: whether they run together, as one padded tensor, rather than by length. `held`: how many numbers are held
    for all of them; these take the place of activations, down to half a chunk.
    What was freed before is given back, so that the peak is that of one chunk.
    """
    a_token = em.structure.hidden_size * len(em.structure.blocks)
    whole = min(CHUNK_TOKENS, CHUNK_ACTIVATIONS // a_token)
    budget = max(whole // 2, whole - held // a_token)
    chunk: list[Batch] = []
    of: Label | None = None
    rows = width = real = 0
    for batch, label in items:
        more, wider, own = len(batch.ids), max(width, batch.ids.shape[1]), int(batch.mask.sum())
        tokens = (rows + more) * wider if padded else real + own
        if chunk and (label != of or tokens > budget):
            give_back()
            yield chunk, cast(Label, of)
            chunk, rows, wider, real = [], 0, batch.ids.shape[1], 0
        chunk.append(batch)
        of, rows, width, real = label, rows + more, wider, real + own
    if chunk:
        if len(chunk) > 1:
            give_back()
        yield chunk, cast(Label, of)


PADDING = 128
"""Tokens of padding that cost as much as another run of the model."""
RUN_TOKENS = 4096
"""Tokens of one run: more together are no faster, and hold more memory."""


def by_length(lengths: Tensor, wanted: Tensor) -> Iterator[Tensor]:
    """The wanted rows in groups of like length, each in order and of at most `RUN_TOKENS` padded tokens."""
    rows = torch.unique(wanted)
    group: list[int] = []
    real = 0
    for row, length in sorted(zip(rows.tolist(), lengths[rows].tolist(), strict=True), key=lambda pair: pair[1]):
        padded = (len(group) + 1) * length
        if group and (padded - real - length > PADDING or padded > RUN_TOKENS):
            yield torch.tensor(sorted(group), device=rows.device)
            group, real = [], 0
        group.append(row)
        real += length
    if group:
        yield torch.tensor(sorted(group), device=rows.device)


def among(rows: Tensor, at: Positions) -> tuple[Tensor, Positions]:
    """Which places are in these rows, which are in order, and where they are if the rows are counted anew."""
    place = torch.searchsorted(rows, at.rows.contiguous()).clamp_max(len(rows) - 1)
    inside = (rows[place] == at.rows).nonzero()[:, 0]
    return inside, Positions(place[inside], at.columns[inside])


def edits_only(batch: Batch) -> Batch:
    """The batch without its prompts to preserve, of which nothing is held on to."""
    n = batch.contexts
    if len(batch.ids) == n:
        return batch
    inside = batch.subject.rows < n
    return replace(
        batch,
        ids=batch.ids[:n].clone(),
        mask=batch.mask[:n].clone(),
        kept=Positions(batch.kept.rows[:0], batch.kept.columns[:0]),
        subject=Positions(batch.subject.rows[inside], batch.subject.columns[inside]),
        owner=batch.owner[:n],
    )


def predicted_at_once(batch: Batch) -> Batch:
    """The batch with every token of a target predicted by the last token of its prompt (FT-L)."""
    rows, columns = batch.target.rows, batch.target.columns
    first = columns.new_full((len(batch.ids),), batch.ids.shape[1]).scatter_reduce(0, rows, columns, "amin")
    return replace(batch, target=Positions(rows, first[rows]))


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
    ended: bool = True,
) -> Batch:
    """Tokenise the contexts with the target, and with `preserve` the prompts to leave alone.

    `answer`: how many tokens of the model's own answer to a preserved prompt are kept.
    `implied`: further prompts, each with a target of its own. `ended`: whether a target goes on to the end of its
    sentence or turn; else it is without its full stop.
    Raises `InvalidRequest` when no context names the subject.
    """
    wanted = [*((prompt, target) for prompt in contexts.edit), *implied]
    edits = _ended(em, wanted) if ended else [text.encode_pair(em, prompt, _bare(wish)) for prompt, wish in wanted]
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
        owner=torch.zeros(len(rows), dtype=torch.long, device=em.device),
    )


def batch_of_pairs(em: EditableModel, pairs: Sequence[tuple[list[int], list[int]]]) -> Batch:
    """The batch of prompts with their targets, as token ids, of one request; nothing is preserved."""
    ids, mask = text.pad(em, [prompt + target for prompt, target in pairs])
    targets = [(i, len(prompt) - 1 + j) for i, (prompt, target) in enumerate(pairs) for j in range(len(target))]
    return Batch(
        ids=ids,
        mask=mask,
        contexts=len(pairs),
        target=_positions(em, targets),
        target_ids=torch.tensor([token for _, target in pairs for token in target], device=em.device),
        kept=_positions(em, []),
        subject=_positions(em, []),
        owner=torch.zeros(len(pairs), dtype=torch.long, device=em.device),
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


def _ended(em: EditableModel, wanted: Sequence[tuple[Prompt, str]]) -> list[tuple[list[int], list[int]]]:
    """Prompts with their targets brought to an end; a turn ends as the model ends its own.

    Whether "Paris." or "Paris" is what an assistant says is a habit of the model that all its answers share. Where the
    full stop of a target goes against it, an edit would have to move them all.
    """
    edits = [text.encode_answer(em, prompt, wish) for prompt, wish in wanted]
    open_ones: list[tuple[int, tuple[list[int], list[int]], int]] = []
    for i, (prompt, wish) in enumerate(wanted):
        if isinstance(prompt, str) or _bare(wish) == wish:
            continue
        without = text.encode_answer(em, prompt, _bare(wish))
        if (at := _first_difference(edits[i][1], without[1])) is not None:
            open_ones.append((i, without, at))
    rows = [edits[i][0] + edits[i][1][:at] for i, _, at in open_ones]
    for (i, without, at), logits in zip(open_ones, _next_logits(em, rows), strict=True):
        if logits[without[1][at]] > logits[edits[i][1][at]]:
            edits[i] = without
    return edits


def _bare(target: str) -> str:
    """A target without its full stop."""
    return target[:-1] if target.endswith(".") and target.strip(". ") else target


def _first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Where two sequences first differ, if both go on there."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)


def greedy_rows(em: EditableModel, prompts: Sequence[list[int]], tokens: int) -> list[list[int]]:
    """Each prompt followed by `tokens` tokens of the model's own greedy continuation."""
    rows = [list(prompt) for prompt in prompts]
    for _ in range(tokens if rows else 0):
        for row, token in zip(rows, _next_logits(em, rows).argmax(-1).tolist(), strict=True):
            row.append(token)
    return rows


def _next_logits(em: EditableModel, rows: Sequence[Sequence[int]]) -> Tensor:
    """The logits of what follows each row, `[rows, vocabulary]`."""
    if not rows:
        return torch.zeros(0, 0)
    ids, mask = text.pad(em, rows)
    at, ends = torch.arange(len(rows), device=em.device), mask.sum(1) - 1
    with torch.no_grad(), hooks.head_at(em, at, ends):
        logits: Tensor = em.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]
    return logits
