"""What can be known of a model directory without loading its weights: enough to speak to a server of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from ketools.models.directory import check_directory, directory_hash, model_name
from ketools.models.loading import as_model_error, load_tokenizer, read_config
from ketools.models.structure import Structure, find_structure


@dataclass(frozen=True, eq=False)
class Outline:
    """Tokenizer, generation settings and structure of a causal LM (a `Speaker` for `ketools.models.text`)."""

    tokenizer: Any
    generation: GenerationConfig
    structure: Structure
    model_hash: str
    name: str
    context_length: int

    @property
    def model(self) -> Outline:
        """Itself: what is asked of the model here is its generation settings."""
        return self

    @property
    def generation_config(self) -> GenerationConfig:
        """The directory's generation settings, with its end-of-turn tokens."""
        return self.generation

    @property
    def device(self) -> torch.device:
        """Where ids would be put; nothing is computed here."""
        return torch.device("cpu")

    @property
    def sizes(self) -> Mapping[str, tuple[int, int]]:
        """(in, out) of every linear module inside the blocks."""
        return self.structure.linear_names

    @property
    def kinds(self) -> frozenset[str]:
        """The last names of the linear modules: down_proj, q_proj, ..."""
        return frozenset(name.rpartition(".")[2] for name in self.sizes)


def read_outline(path: str | Path) -> Outline:
    """The outline of a Hugging Face causal LM directory. Raises `ModelError` as `load_editable` does."""
    folder = Path(path)
    check_directory(folder)
    tokenizer, config = load_tokenizer(folder), read_config(folder)
    with as_model_error(folder, "The model"):
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
        try:
            generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
        except OSError:
            generation = GenerationConfig.from_model_config(config)
    return Outline(
        tokenizer=tokenizer,
        generation=generation,
        structure=find_structure(empty),
        model_hash=directory_hash(folder),
        name=model_name(folder),
        context_length=int(config.get_text_config().max_position_embeddings),
    )
