"""Models loaded from local directories: no network, no code of the directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ketools.core.errors import ModelError
from ketools.models.directory import check_directory, directory_hash, model_name
from ketools.models.editable import EditableModel
from ketools.models.structure import find_structure

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
)
"""The precisions in which weights may be held."""


def load_editable(
    path: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> EditableModel:
    """Load a Hugging Face causal LM directory, in eval mode, frozen.

    Nothing is fetched and no code of the directory is run. Raises `ModelError` naming the missing or
    corrupt file, or saying why the model cannot be edited.
    """
    folder = Path(path)
    check_directory(folder)
    _require_device(torch.device(device))
    model = _load_model(folder, dtype)
    tokenizer = load_tokenizer(folder)
    model.to(device).eval().requires_grad_(False)
    return EditableModel(
        model=model,
        tokenizer=tokenizer,
        structure=find_structure(model),
        model_hash=directory_hash(folder),
        name=model_name(folder),
    )


def _require_device(device: torch.device) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("There is no CUDA device that torch can use here; leave --device out, or give cpu.")


def _load_model(folder: Path, dtype: torch.dtype) -> Any:
    with quiet(), as_model_error(folder, "The model"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    require_all_weights(folder, report)
    return model


def require_all_weights(place: Path, report: dict[str, Any]) -> None:
    """Raise `ModelError` when transformers' loading report names tensors that are missing or of another size.

    transformers would go on with random values for them.
    """
    unusable = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if unusable:
        raise ModelError(
            f"The weights in {place} lack or misfit {len(unusable)} tensors, among them {unusable[0]}. "
            "The config and the weights belong to different models; copy both again."
        )


def load_tokenizer(folder: Path) -> Any:
    """The fast tokenizer of a model directory. Raises `ModelError`."""
    with quiet(), as_model_error(folder, "The tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not tokenizer.is_fast:
        raise ModelError(f"The tokenizer in {folder} gives no character offsets; convert it to tokenizer.json.")
    # The first call may reset saved padding settings, which must not happen in two threads at once.
    tokenizer("warm up")
    return tokenizer


def read_config(folder: Path) -> Any:
    """The transformers config of a model directory. Raises `ModelError`."""
    with as_model_error(folder, "The config"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


@contextmanager
def as_model_error(folder: Path, what: str) -> Iterator[None]:
    """transformers raises whatever its parsers raise; to a caller all of it is a broken directory."""
    try:
        yield
    except Exception as error:
        raise ModelError(
            f"{what} in {folder} cannot be loaded ({type(error).__name__}: {error}). "
            "Check that transformers alone can load the directory."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no loading report, which would fill an agent's log."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
