from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM

from ketools.core.errors import ModelError
from ketools.models.editable import EditableModel
from ketools.models.hooks import capture
from ketools.models.structure import find_structure, get_module, weight_of

HIDDEN, INNER, LAYERS = 32, 48, 3
FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3", "gpt2", "opt", "gpt_neox"]
Editable = Callable[[str], EditableModel]


def tiny_config() -> LlamaConfig:
    return LlamaConfig(vocab_size=20, hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_found_with_its_sizes(tiny_editable: Editable, family: str) -> None:
    structure = tiny_editable(family).structure
    assert structure.hidden_size == HIDDEN
    assert len(structure.blocks) == LAYERS
    for block in structure.blocks:
        assert structure.linear_names[block.down_proj] == (INNER, HIDDEN)
        assert structure.linear_names[block.attn_out] == (HIDDEN, HIDDEN)
        assert (block.qkv is None) == (block.q is not None and block.k is not None and block.v is not None)
        assert block.name in block.down_proj


@pytest.mark.parametrize("family", FAMILIES)
def test_linear_names_are_all_the_matrices_of_the_blocks(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    matrices = {
        name.removesuffix(".weight")
        for name, parameter in em.model.named_parameters()
        if parameter.ndim == 2 and any(name.startswith(block.name + ".") for block in em.structure.blocks)
    }
    assert set(em.structure.linear_names) == matrices


@pytest.mark.parametrize("family", FAMILIES)
def test_head_of_the_final_norm_gives_the_logits(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    assert em.structure.final_norm is not None
    ids = torch.tensor([[0, 9, 8, 7]])
    with torch.no_grad(), capture(em, [em.structure.final_norm]) as seen:
        logits = em.model(input_ids=ids).logits
        ours = get_module(em.model, em.structure.lm_head)(seen[em.structure.final_norm])
    if family == "gemma2":
        ours = 30 * torch.tanh(ours / 30)
    torch.testing.assert_close(ours, logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_embedding_is_the_one_that_the_tokens_go_through(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), capture(em, [em.structure.embed]) as seen:
        em.model(input_ids=ids)
    assert seen[em.structure.embed].shape == (1, 3, HIDDEN)


@pytest.mark.parametrize("family", FAMILIES)
def test_weight_of_is_out_by_in_whichever_way_it_is_stored(tiny_editable: Editable, family: str) -> None:
    em = tiny_editable(family)
    for name, (inner, outer) in em.structure.linear_names.items():
        module, x = get_module(em.model, name), torch.randn(2, inner)
        bias = module.bias if isinstance(module.bias, torch.Tensor) else torch.zeros(outer)
        torch.testing.assert_close(module(x), x @ weight_of(module).T + bias)


def test_the_ffn_is_a_module_of_its_own_but_where_the_block_holds_its_parts(tiny_editable: Editable) -> None:
    assert tiny_editable("llama").structure.blocks[1].ffn == "model.layers.1.mlp"
    assert tiny_editable("opt").structure.blocks[1].ffn is None


def test_lookup_does_not_read_the_class_name_or_the_model_type() -> None:
    class SomethingElse(LlamaForCausalLM):  # type: ignore[misc]
        pass

    config = tiny_config()
    renamed = SomethingElse(config)
    renamed.config.model_type = "unheard-of"
    assert find_structure(renamed) == find_structure(LlamaForCausalLM(config))


def test_mixture_of_experts_is_refused_with_what_was_looked_for() -> None:
    config = MixtralConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=2,
    )
    with pytest.raises(ModelError, match=r"mlp\.down_proj or mlp\.c_proj.*attention\.dense"):
        find_structure(MixtralForCausalLM(config))


def test_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="causal language model"):
        find_structure(LlamaForCausalLM(tiny_config()).model)


def test_unknown_module_names_and_non_linear_modules_are_refused() -> None:
    model = LlamaForCausalLM(tiny_config())
    with pytest.raises(ModelError, match=r"model\.layers\.9\.mlp"):
        get_module(model, "model.layers.9.mlp")
    with pytest.raises(ModelError, match="Embedding is not a linear module"):
        weight_of(nn.Embedding(2, 3))
