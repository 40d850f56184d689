"""A tiny model as a GGUF file, written by the reference library."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@dataclass(frozen=True)
class Wish:
    """How a file is to differ from an ordinary one. `extra`: more tensors."""

    architecture: str = "llama"
    tokenizer: str = "gpt2"
    splitter: str = "smollm"
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
    extra: tuple[str, ...] = ()
    turn_end: int | None = None


@pytest.fixture(scope="session")
def write_gguf(tiny_llama_dir: Path) -> Callable[..., Path]:
    """A function that writes the tiny Llama to a GGUF file: path, and what differs as keyword arguments."""
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_dir)
    tokenizer = json.loads((tiny_llama_dir / "tokenizer.json").read_text())["model"]
    template = AutoTokenizer.from_pretrained(tiny_llama_dir).chat_template

    def write(file: Path, **changes: Any) -> Path:
        wish = Wish(**changes)
        writer = gguf.GGUFWriter(file, wish.architecture)
        _write_config(writer, model.config)
        _write_tokenizer(writer, tokenizer, template, wish)
        for name, tensor in model.state_dict().items():
            if name != "lm_head.weight":
                _write_tensor(writer, name, tensor, model.config, wish.kind)
        for name in wish.extra:
            writer.add_tensor(name, np.ones(8, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file

    return write


def _write_config(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_name("Tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_vocab_size(config.vocab_size)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], template: str, wish: Wish) -> None:
    tokens = sorted(tokenizer["vocab"], key=tokenizer["vocab"].__getitem__)
    writer.add_tokenizer_model(wish.tokenizer)
    writer.add_tokenizer_pre(wish.splitter)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in ("<s>", "</s>", "<pad>") else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(template)
    if wish.turn_end is not None:
        writer.add_eot_token_id(wish.turn_end)


def _write_tensor(
    writer: gguf.GGUFWriter, name: str, tensor: torch.Tensor, config: Any, kind: gguf.GGMLQuantizationType
) -> None:
    values: NDArray[np.float32] = tensor.float().numpy()
    if ".q_proj" in name or ".k_proj" in name:
        values = _interleaved(values, config.num_attention_heads if ".q_proj" in name else config.num_key_value_heads)
    if values.ndim == 1 or kind is gguf.GGMLQuantizationType.F32:
        writer.add_tensor(_gguf_name(name), values)
    else:
        kind = kind if values.shape[1] % 32 == 0 else gguf.GGMLQuantizationType.F16
        writer.add_tensor(_gguf_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)


def _interleaved(values: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a query or key projection in the order in which llama.cpp rotates them."""
    rows, columns = values.shape
    return values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _gguf_name(name: str) -> str:
    if name == "model.embed_tokens.weight":
        return "token_embd.weight"
    if name == "model.norm.weight":
        return "output_norm.weight"
    block, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{block}.{NAMES[part]}.weight"
