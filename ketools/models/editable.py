"""A causal language model seen by an editor: its structure, its hooks, its keys and values."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from typing import Any

import torch

from ketools.models.hooks import LayerSwitch
from ketools.models.structure import Structure


@dataclass(frozen=True, eq=False)
class EditableModel:
    """The editor's view of the served weights. Parameters never require grad and are never written.

    `model`: a transformers causal LM in eval mode, in whatever precision; what is read of it is fp32.
    `tokenizer`: its fast tokenizer. `structure`: where its down projections, attention outputs and norms are.
    `switch`: runs the model under an edit layer: `with em.switch.use(layer): em.model(...)`.
    """

    model: Any
    tokenizer: Any
    structure: Structure
    model_hash: str
    name: str = "model"
    switch: LayerSwitch = field(init=False, repr=False)
    replayed: dict[int, tuple[bool, bool]] = field(default_factory=dict, init=False, repr=False)
    """By block, how the model can be run from there on: see `ketools.models.tail`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "switch", LayerSwitch(self.model, self.structure))

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs must be put there."""
        parameter: torch.Tensor = next(self.model.parameters())
        return parameter.device

    @property
    def context_length(self) -> int:
        """The most tokens that the model can attend to."""
        return int(self.model.config.get_text_config().max_position_embeddings)

    @cached_property
    def cache_name(self) -> str:
        """What the model's `forward` and its output call the keys and values of earlier tokens.

        transformers renamed `past_key_values` to `cache` within its version 5.
        """
        return "cache" if "cache" in signature(self.model.forward).parameters else "past_key_values"
