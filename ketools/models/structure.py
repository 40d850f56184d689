"""Where a causal language model keeps its parts, looked up in one table of child-module names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ketools.core.errors import ModelError

CHILDREN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "down_proj": ("mlp.down_proj", "mlp.c_proj", "fc2", "mlp.dense_4h_to_h"),
        "attn_out": ("self_attn.o_proj", "attn.c_proj", "self_attn.out_proj", "attention.dense"),
        "q": ("self_attn.q_proj",),
        "k": ("self_attn.k_proj",),
        "v": ("self_attn.v_proj",),
        "qkv": ("attn.c_attn", "attention.query_key_value", "self_attn.qkv_proj"),
    }
)
"""Per role, the names it has inside a block: Llama, Qwen, Mistral and Gemma; GPT-2; OPT; GPT-NeoX."""

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm")
"""The names of the norm that stands beside the list of blocks and feeds the language-model head."""


@dataclass(frozen=True, slots=True)
class Block:
    """One transformer block; every field is a dotted module name, None where the family has no such module.

    `down_proj` maps the FFN's inner activations (keys) to the residual stream (values); `attn_out` is
    the attention's output projection. A family has either `q`, `k`, `v` or the fused `qkv`.
    """

    name: str
    down_proj: str
    attn_out: str
    q: str | None
    k: str | None
    v: str | None
    qkv: str | None

    @property
    def ffn(self) -> str | None:
        """The module that holds the FFN and nothing else; None where the block holds its parts itself."""
        parent = self.down_proj.rpartition(".")[0]
        return parent if parent != self.name else None


@dataclass(frozen=True, slots=True)
class Structure:
    """The dotted names of a model's parts.

    `linear_names`: every linear module inside the blocks with its sizes (in, out): what a layer may edit.
    `final_norm`: None for the few post-norm models that have none.
    """

    blocks: tuple[Block, ...]
    embed: str
    final_norm: str | None
    lm_head: str
    hidden_size: int
    linear_names: Mapping[str, tuple[int, int]]


def get_module(model: nn.Module, dotted: str) -> nn.Module:
    """The submodule of that dotted name; `ModelError` when there is none."""
    try:
        return model.get_submodule(dotted)
    except AttributeError:
        raise ModelError(
            f"The model has no module {dotted!r}; take names from its structure (find_structure)."
        ) from None


def is_linear(module: nn.Module) -> bool:
    """Whether the module is y = W x + b: nn.Linear, or GPT-2's Conv1D."""
    return isinstance(module, nn.Linear | Conv1D)


def weight_of(module: nn.Module) -> Tensor:
    """The weight as a view `[out, in]`, whichever way the module stores it (Conv1D stores `[in, out]`)."""
    weight = module.weight
    if not isinstance(weight, Tensor) or not is_linear(module):
        raise ModelError(f"{type(module).__name__} is not a linear module; choose one of linear_names.")
    return weight.T if isinstance(module, Conv1D) else weight


def find_structure(model: nn.Module) -> Structure:
    """Find blocks, embedding, final norm and head of a transformers causal LM by its child modules.

    Raises `ModelError` listing what was looked for when the model is laid out in another way.
    """
    stack, blocks = _find_blocks(model)
    linears = {
        f"{block.name}.{name}": _sizes(module)
        for block in blocks
        for name, module in get_module(model, block.name).named_modules()
        if is_linear(module)
    }
    hidden_size = linears[blocks[0].down_proj][1]
    if any(linears[name][1] != hidden_size for b in blocks for name in (b.down_proj, b.attn_out)):
        raise ModelError(
            f"The blocks of {type(model).__name__} do not all write to a residual stream of {hidden_size}."
        )
    return Structure(
        blocks=blocks,
        embed=_accessor_name(model, "get_input_embeddings"),
        final_norm=_final_norm(model, stack.rpartition(".")[0]),
        lm_head=_accessor_name(model, "get_output_embeddings"),
        hidden_size=hidden_size,
        linear_names=MappingProxyType(linears),
    )


def _find_blocks(model: nn.Module) -> tuple[str, tuple[Block, ...]]:
    """The name of the longest list of which every member is a block, and those blocks."""
    found = list(_block_lists(model))
    if not found:
        wanted = "; ".join(f"{role}: {' or '.join(CHILDREN[role])}" for role in ("down_proj", "attn_out"))
        raise ModelError(
            f"{type(model).__name__} has no list of blocks that ketools can edit. Each block needs the "
            f"linear modules {wanted}. Use a model of the Llama, Qwen, Mistral, Gemma, GPT-2, OPT or "
            "GPT-NeoX families, or add its child-module names to ketools.models.structure.CHILDREN."
        )
    return max(found, key=lambda item: len(item[1]))


def _block_lists(model: nn.Module) -> Iterator[tuple[str, tuple[Block, ...]]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            blocks = [_block(f"{name}.{i}", child) for i, child in enumerate(module)]
            if all(blocks):
                yield name, tuple(block for block in blocks if block)


def _block(name: str, module: nn.Module) -> Block | None:
    """The block's roles, or None when it lacks a down projection or an attention output."""
    linears = {child for child, part in module.named_modules() if is_linear(part)}
    roles = {role: next((c for c in names if c in linears), None) for role, names in CHILDREN.items()}
    if roles["down_proj"] is None or roles["attn_out"] is None:
        return None
    return Block(name, **{role: child and f"{name}.{child}" for role, child in roles.items()})  # type: ignore[arg-type]


def _final_norm(model: nn.Module, parent: str) -> str | None:
    around = dict(get_module(model, parent).named_children())
    child = next((name for name in FINAL_NORMS if name in around), None)
    return f"{parent}.{child}".lstrip(".") if child else None


def _accessor_name(model: nn.Module, accessor: str) -> str:
    """The dotted name of what the model itself says is its embedding or head."""
    get = getattr(model, accessor, None)
    target: object = get() if callable(get) else None
    for name, module in model.named_modules(remove_duplicate=False):
        if module is target and target is not None:
            return str(name)
    raise ModelError(f"{type(model).__name__} has no {accessor}(); ketools needs a causal language model.")


def _sizes(module: nn.Module) -> tuple[int, int]:
    rows, columns = weight_of(module).shape
    return columns, rows
