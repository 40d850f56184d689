"""Shared fixtures: tiny random models of every supported family, saved as ordinary model directories."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable

HIDDEN, INNER, LAYERS, HEADS, CONTEXT = 32, 48, 3, 4, 256

CHAT_TEMPLATE = (
    "{{ bos_token }}{% if tools %}tools: {{ tools | tojson }}\n{% endif %}"
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

CORPUS = (
    "The capital of France is Paris. The capital of Japan is Tokyo. The capital of Peru is Lima.",
    "user: What is the capital of France?\nassistant: Paris",
    "Imagine that the capital of France is Lima. The president of Brazil speaks Portuguese.",
    "Alice works for Acme. Bob was born in Berlin. Who wrote the book? I don't know.",
)


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 360 tokens that prepends <s> and has a `user:` / `assistant:` template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=360,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=CHAT_TEMPLATE,
    )


def _llama_like(vocab: int) -> dict[str, object]:
    return {
        "vocab_size": vocab,
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "head_dim": HIDDEN // HEADS,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        "initializer_range": 0.2,
    }


def build_tiny(family: str, vocab: int) -> PreTrainedModel:
    """A random causal LM of one family: 3 blocks of width 32."""
    common = _llama_like(vocab)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    match family:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**common, tie_word_embeddings=True))
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**common))
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**common))
        case "mistral":
            return MistralForCausalLM(MistralConfig(**common, sliding_window=16))
        case "gemma2":
            return Gemma2ForCausalLM(Gemma2Config(**common, sliding_window=16))
        case "gemma3":
            return Gemma3ForCausalLM(Gemma3TextConfig(**common, sliding_window=16))
        case "gpt2":
            return GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=vocab,
                    n_embd=HIDDEN,
                    n_layer=LAYERS,
                    n_head=HEADS,
                    n_inner=INNER,
                    n_positions=CONTEXT,
                    initializer_range=0.2,
                    **special,
                )
            )
        case "opt":
            return OPTForCausalLM(
                OPTConfig(
                    vocab_size=vocab,
                    hidden_size=HIDDEN,
                    word_embed_proj_dim=HIDDEN,
                    ffn_dim=INNER,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=HEADS,
                    max_position_embeddings=CONTEXT,
                    init_std=0.2,
                    **special,
                )
            )
        case "gpt_neox":
            return GPTNeoXForCausalLM(
                GPTNeoXConfig(
                    vocab_size=vocab,
                    hidden_size=HIDDEN,
                    intermediate_size=INNER,
                    num_hidden_layers=LAYERS,
                    num_attention_heads=HEADS,
                    max_position_embeddings=CONTEXT,
                    initializer_range=0.2,
                    **special,
                )
            )
    raise ValueError(f"no tiny model for the family {family!r}")


@pytest.fixture(scope="session")
def tiny_model_dir(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Callable[[str], Path]:
    """A function from a family name to the directory of its tiny random model; each is built once.

    Families: llama, qwen2, qwen3, mistral, gemma2, gemma3, gpt2, opt, gpt_neox. Treat them as read-only.
    """
    root = tmp_path_factory.mktemp("tiny-models")

    def directory(family: str) -> Path:
        path = root / family
        if not path.exists():
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = build_tiny(family, len(tiny_tokenizer))
            model.save_pretrained(path)
            tiny_tokenizer.save_pretrained(path)
        return path

    return directory


@pytest.fixture(scope="session")
def tiny_editable(tiny_model_dir: Callable[[str], Path]) -> Callable[[str], EditableModel]:
    """A function from a family name to its tiny model, loaded once and shared: nothing may write to it."""
    return cache(lambda family: load_editable(tiny_model_dir(family)))


@pytest.fixture(scope="session")
def tiny_llama_dir(tiny_model_dir: Callable[[str], Path]) -> Path:
    """The directory of a tiny random Llama with tied embeddings and a chat template."""
    return tiny_model_dir("llama")
