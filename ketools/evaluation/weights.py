"""What an edit does to the weights: how sparse, in which columns, and what they say in the vocabulary.

Figures 6 and 7 of the survey, section 5.1; the projection is that of Dar et al. (arXiv:2209.02535).
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ketools.layers.composition import EditLayer
from ketools.models.editable import EditableModel
from ketools.models.structure import get_module, weight_of

CELLS = 48
"""Rows and columns of a heat map, at most."""
COLUMNS = 5
"""How many of the most changed columns are mapped to the vocabulary, as in the survey."""
NEGLIGIBLE = 0.01
"""An entry below this share of the greatest one counts as unchanged."""


class Change(BaseModel):
    """The change of one linear module, of sizes (out, in).

    `relative`: Frobenius norm of the change over that of the weight. `sparsity`: share of entries below 1% of the
    greatest. `top_columns`: share of the squared norm in the 1% of columns (at least one) that changed most.
    `heat`: mean absolute change per cell, the greatest cell 1; rows go along `out`, columns along `in`.
    """

    model_config = ConfigDict(frozen=True)

    module: str
    sizes: tuple[int, int]
    relative: float
    sparsity: float
    top_columns: float
    heat: tuple[tuple[float, ...], ...]


class Hits(BaseModel):
    """Whether the target's first token is among the most probable ones of a changed column, before and after."""

    model_config = ConfigDict(frozen=True)

    hit_10_before: float
    hit_10: float
    hit_50_before: float
    hit_50: float
    n: int


def changes(em: EditableModel, layer: EditLayer) -> list[Change]:
    """What a layer changes, module by module; empty for a layer of notes."""
    return [
        _change(name, delta.matrix(), weight_of(get_module(em.model, name)))
        for name, delta in layer.deltas.items()
        if name in em.structure.linear_names
    ]


def _change(name: str, delta: Tensor, weight: Tensor) -> Change:
    squares = delta.square().sum(0)  # [in]
    total = float(squares.sum())
    few = max(len(squares) // 100, 1)
    greatest = float(delta.abs().max())
    return Change(
        module=name,
        sizes=(delta.shape[0], delta.shape[1]),
        relative=total**0.5 / float(weight.norm()),
        sparsity=float((delta.abs() < NEGLIGIBLE * greatest).float().mean()) if greatest else 1.0,
        top_columns=float(squares.topk(few).values.sum()) / total if total else 0.0,
        heat=_heat(delta),
    )


def _heat(delta: Tensor) -> tuple[tuple[float, ...], ...]:
    rows, columns = (min(CELLS, n) for n in delta.shape)
    cells = torch.nn.functional.adaptive_avg_pool2d(delta.abs()[None], (rows, columns))[0]
    greatest = float(cells.max()) or 1.0
    return tuple(tuple(round(v / greatest, 4) for v in row) for row in cells.tolist())


def hits(em: EditableModel, layer: EditLayer, target: str) -> Hits | None:
    """Hit@10 and Hit@50 of the target's first token over the most changed columns of the down projections.

    A column of a down projection `[hidden, inner]` is what one inner neuron writes into the residual stream. It
    goes through the model's head (the final norm's scale included) to scores of the vocabulary; a hit is a target
    token among the first 10 or 50 of any of the five columns. None when no down projection changes.
    """
    downs = {block.down_proj for block in em.structure.blocks}
    found = [(name, delta) for name, delta in layer.deltas.items() if name in downs]
    if not found:
        return None
    name, delta = max(found, key=lambda pair: float(pair[1].matrix().norm()))
    matrix = delta.matrix()
    chosen = matrix.norm(dim=0).topk(min(COLUMNS, matrix.shape[1])).indices
    before = weight_of(get_module(em.model, name))[:, chosen]
    ranks = [_best_rank(em, columns, target) for columns in (before, before + matrix[:, chosen])]
    old, new = ranks
    return Hits(
        hit_10_before=float(old < 10),
        hit_10=float(new < 10),
        hit_50_before=float(old < 50),
        hit_50=float(new < 50),
        n=1,
    )


def mean_hits(found: list[Hits]) -> Hits | None:
    """Shares over several edits; None of nothing."""
    if not found:
        return None
    shares = {name: sum(getattr(h, name) for h in found) / len(found) for name in Hits.model_fields if name != "n"}
    return Hits(**shares, n=len(found))


def _best_rank(em: EditableModel, columns: Tensor, target: str) -> int:
    """The best rank of the target's first token over columns `[hidden, k]`, from 0."""
    norm, head = em.structure.final_norm, get_module(em.model, em.structure.lm_head)
    rows = columns.T
    with torch.no_grad():
        scores = head(rows if norm is None else get_module(em.model, norm)(rows))  # [k, vocabulary]
    tokens = {em.tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in (target, f" {target}")}
    return min(int((scores > scores[:, token, None]).sum(1).min()) for token in tokens)
