"""A causal language model seen by an editor: its structure, its hooks, its keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ketools.models.structure import Structure


@dataclass(frozen=True)
class EditableModel:
    """The editor's view of the served weights. Parameters never require grad and are never written.

    `model`: a transformers causal LM in eval mode, fp32. `tokenizer`: its fast tokenizer.
    `structure`: where its down projections, attention outputs and norms are.
    """

    model: Any
    tokenizer: Any
    structure: Structure
    model_hash: str
