"""The architecture of the bundled model and how its weights start out."""

from __future__ import annotations

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

EMBEDDING_STD = 0.05
MATRIX_STD = 0.01
PLANTED_HEADS = 3


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A small Llama with previous-token and matching heads planted in its first two layers."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=MATRIX_STD,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(EMBEDDING_STD / MATRIX_STD)
        plant_induction(model)
    return model


def _shift(model: LlamaForCausalLM) -> torch.Tensor:
    """Give every embedding one common component; with tied weights it cancels in the softmax."""
    embedding = model.model.embed_tokens.weight
    std, width = embedding.std().item(), embedding.shape[1]
    direction = torch.randn(width)
    direction /= direction.norm()
    embedding -= torch.outer(embedding @ direction, direction)
    embedding += direction * (std * math.sqrt(width))
    return direction


def _previous_token_phase(head: int, direction: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Query and key whose product, after rotary embedding, is largest at a distance of one."""
    angle = 10000.0 ** (-torch.arange(0, head, 2).float() / head)
    scale = torch.where(angle > 0.02, 1.0, 0.3)
    query = torch.cat([scale, torch.zeros_like(scale)])
    key = torch.cat([scale * angle.cos(), scale * angle.sin()])
    return torch.outer(query, direction), torch.outer(key, direction)


def _basis(width: int, head: int) -> torch.Tensor:
    columns: torch.Tensor = torch.linalg.qr(torch.randn(width, head))[0]
    return columns.T  # [head, width]


def plant_induction(model: LlamaForCausalLM) -> None:
    """Start with induction: layer 0 writes each token's predecessor, layer 1 looks for it and copies.

    Without this start, models of this size took far longer to learn to answer from their context.
    """
    direction = _shift(model)
    width = model.config.hidden_size
    head = width // model.config.num_attention_heads
    first, second = model.model.layers[0].self_attn, model.model.layers[1].self_attn
    query, key = _previous_token_phase(head, direction)
    for h in range(PLANTED_HEADS):
        rows = slice(h * head, (h + 1) * head)
        read, write, copy = _basis(width, head), _basis(width, head), _basis(width, head)
        read -= torch.outer(read @ direction, direction)
        write -= torch.outer(write @ direction, direction)
        copy -= torch.outer(copy @ direction, direction)
        first.q_proj.weight[rows] = first.q_proj.weight[rows] * 0.1 + query
        first.k_proj.weight[rows] = first.k_proj.weight[rows] * 0.1 + key
        first.v_proj.weight[rows] = read * 0.3
        first.o_proj.weight[:, rows] = write.T * 0.3
        second.q_proj.weight[rows] = read * 2
        second.k_proj.weight[rows] = write
        second.v_proj.weight[rows] = copy
        second.o_proj.weight[:, rows] = copy.T
