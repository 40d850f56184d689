"""GGUF files converted to ordinary Hugging Face directories: config, safetensors weights, tokenizer."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from ketools.core.errors import ModelError
from ketools.models.gguf_header import GGUFHeader, read_header
from ketools.models.loading import load_tokenizer, quiet, require_all_weights
from ketools.models.structure import find_structure

CONFIG_OF_A_RUN = ("transformers_version", "_name_or_path", "_model_name_or_path", "quantization_config")
"""Config entries that tell how a file was made and not what the model is; a model's hash must not depend on them."""
TOKENIZER_OF_A_RUN = ("is_local", "local_files_only", "backend", "name_or_path")

DIGIT_BY_DIGIT = frozenset(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"))
GPT2_SPLIT = frozenset(("gpt-2", "mpt", "olmo", "jais", "phi-2"))
"""Names in `tokenizer.ggml.pre`: how text is split before byte-level merges, as llama.cpp defines them."""

PLAIN_TYPES: Mapping[str, torch.dtype] = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

SAMPLES = (
    "The capital of France is Paris.",
    "In 1984 it cost  12.50 dollars,\n\tor £9.\n",
    "L'été à Zürich — ¿qué? 北京 と Москва नमस्ते 🙂",
)


def convert_gguf(file: Path, folder: Path) -> None:
    """Write the model of a GGUF file to an empty folder, in the file's float type or, if quantised, in bf16.

    Raises `ModelError` for an incomplete file and for an architecture or tokenizer that cannot be converted
    exactly; `OSError` when the disk refuses.
    """
    header = read_header(file)
    _require_convertible(file, header)
    with quiet(), tempfile.TemporaryDirectory(prefix="ketools-gguf-") as alone:
        # transformers reads what lies beside the file too, which may belong to another model.
        link = Path(alone) / file.name
        link.symlink_to(file.resolve())
        tokenizer = _tokenizer(link, header)
        model = _model(link, header)
    find_structure(model)
    _save_model(model, folder, header)
    _save_tokenizer(tokenizer, folder, model.config.max_position_embeddings)
    _require_same_ids(file, tokenizer, folder)


def _require_convertible(file: Path, header: GGUFHeader) -> None:
    elsewhere = "Use the model's safetensors instead: ketools model get ORG/NAME, or --model DIRECTORY."
    if "rope_freqs.weight" in header.types:
        raise ModelError(f"{file} scales its rotary frequencies (rope_freqs), which is lost here. {elsewhere}")
    if header.splitter and header.splitter not in DIGIT_BY_DIGIT | GPT2_SPLIT | _known_splits():
        raise ModelError(f"{file} splits text by the rule {header.splitter!r}, which is not known here. {elsewhere}")


def _known_splits() -> frozenset[str]:
    """The splitting rules that the installed transformers applies by itself."""
    try:
        from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping
    except ImportError:
        return frozenset()
    return frozenset(getattr(mapping, "GGUF_PRE_TOKENIZER_SPLITS", ()))


def _tokenizer(file: Path, header: GGUFHeader) -> Any:
    with _as_model_error(file, f"has a tokenizer that transformers cannot convert ({header.architecture})"):
        tokenizer = PreTrainedTokenizerFast.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    if header.splitter in DIGIT_BY_DIGIT:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def _model(file: Path, header: GGUFHeader) -> Any:
    # Newer transformers keep the quantised blocks where it can; this asks for plain weights.
    config = getattr(transformers, "GgufConfig", None)
    dense = {"quantization_config": config(dequantize=True)} if config else {}
    silent = contextlib.redirect_stderr(io.StringIO())  # the bars of tqdm, which `quiet` does not reach
    with (
        silent,
        _as_model_error(file, f"has the architecture {header.architecture!r}, which transformers cannot convert"),
    ):
        model, report = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=PLAIN_TYPES.get(header.plain or "", torch.bfloat16),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **dense,
        )
    require_all_weights(file, report)
    return model


def _save_model(model: Any, folder: Path, header: GGUFHeader) -> None:
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    if header.turn_end is not None:
        ends = [model.generation_config.eos_token_id, header.turn_end]
        model.generation_config.eos_token_id = sorted({end for end in ends if end is not None})
    with quiet():
        model.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        _rewrite(folder / name, drop=CONFIG_OF_A_RUN)


def _save_tokenizer(tokenizer: Any, folder: Path, context_length: int) -> None:
    with quiet():
        tokenizer.save_pretrained(folder)
    # The one class name that every version of transformers resolves to "whatever tokenizer.json says".
    kept = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context_length}
    _rewrite(folder / "tokenizer_config.json", drop=TOKENIZER_OF_A_RUN, **kept)


def _rewrite(file: Path, drop: tuple[str, ...], **given: Any) -> None:
    """Write a JSON file again without some entries, the same bytes whichever version wrote it."""
    content = json.loads(file.read_text(encoding="utf-8")) | given
    kept = {key: _short(value) for key, value in content.items() if key not in drop}
    file.write_text(json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    """Numbers of a GGUF header are single precision: 9.999999747378752e-06 is 1e-05."""
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, float) and float(np.float32(value)) == value:
        return float(str(np.float32(value)))
    return value


def _require_same_ids(file: Path, tokenizer: Any, folder: Path) -> None:
    """Raise `ModelError` when the saved tokenizer reads text in another way than the converted one."""
    saved = load_tokenizer(folder)
    for text in SAMPLES:
        ids = tokenizer(text)["input_ids"]
        if saved(text)["input_ids"] != ids or text not in saved.decode(ids, clean_up_tokenization_spaces=False):
            raise ModelError(f"The tokenizer of {file} does not survive its conversion. Use the model's safetensors.")


@contextlib.contextmanager
def _as_model_error(file: Path, what: str) -> Iterator[None]:
    """The gguf package and transformers raise whatever their parsers raise; to a caller the file is at fault."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise ModelError(f"{file} {what} ({type(error).__name__}: {error}).") from error
    except Exception as error:
        raise ModelError(f"{file} {what} ({type(error).__name__}: {error}).") from error
