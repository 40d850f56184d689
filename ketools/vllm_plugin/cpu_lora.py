"""vLLM's LoRA operations for CPUs, put right and made faster.

vLLM marks the tokens of requests without an adapter by the index -1, and its PyTorch operations then read the
*last* adapter slot for them: a request to the base model that shares a batch with requests to adapters gets
somebody's edit. Here such tokens get nothing. And where vLLM copies a weight matrix for every token, tokens are
grouped by adapter, one matrix product each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


def groups(indices: Tensor) -> Iterator[tuple[int, Tensor | slice]]:
    """Each adapter slot in use with the rows of its tokens; rows without an adapter are in none."""
    slots = torch.unique(indices).tolist()
    for slot in slots:
        if slot >= 0:
            yield slot, slice(None) if len(slots) == 1 else (indices == slot).nonzero().squeeze(1)


def shrink(inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, scaling: float = 1.0) -> None:
    """`output[t, :r] = scaling * A[slot of t] @ inputs[t]`, 0 where t has no adapter. `weights [slots, 1, r, in]`."""
    stacked = weights.squeeze(1) if weights.dim() == 4 else weights
    output[:, : stacked.shape[1]] = 0
    for slot, rows in groups(indices):
        output[rows, : stacked.shape[1]] = scaling * (inputs[rows].to(output.dtype) @ stacked[slot].to(output.dtype).T)


def expand_slice(
    inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, offset: int, size: int, add_inputs: bool = True
) -> None:
    """`output[t, offset:offset+size] (+)= B[slot of t] @ inputs[t]`. `weights [slots, 1, out, r]`."""
    stacked = weights.squeeze(1) if weights.dim() == 4 else weights
    size = min(size, stacked.shape[1], output.shape[1] - offset)
    if not add_inputs:
        output[:, offset : offset + size] = 0
    for slot, rows in groups(indices):
        change = inputs[rows].to(output.dtype) @ stacked[slot, :size].to(output.dtype).T
        output[rows, offset : offset + size] += change


def expand(inputs: Tensor, weights: Tensor, output: Tensor, indices: Tensor, add_inputs: bool = True) -> None:
    """`expand_slice` over the whole output."""
    expand_slice(inputs, weights, output, indices, 0, output.shape[1], add_inputs)


def _tokens(indices: Tensor, lengths: Tensor) -> Tensor:
    """The slot of every token, from those of the sequences."""
    return torch.repeat_interleave(indices, lengths)


def sgmv_shrink(
    inputs: Tensor, weights: Tensor, output: Tensor, starts: Tensor, lengths: Tensor, indices: Tensor,
    batches: int, longest: int, tokens: int, scaling: float,
) -> None:  # fmt: skip
    """`shrink` of whole sequences, in vLLM's signature."""
    shrink(inputs, weights, output, _tokens(indices, lengths), scaling)


def sgmv_expand(
    inputs: Tensor, weights: Tensor, output: Tensor, starts: Tensor, lengths: Tensor, indices: Tensor,
    batches: int, longest: int, tokens: int, add_inputs: bool = False,
) -> None:  # fmt: skip
    """`expand` of whole sequences, in vLLM's signature."""
    expand(inputs, weights, output, _tokens(indices, lengths), add_inputs)


def sgmv_expand_slice(
    inputs: Tensor, weights: Tensor, output: Tensor, starts: Tensor, lengths: Tensor, indices: Tensor,
    batches: int, longest: int, tokens: int, offset: int, size: int, add_inputs: bool = False,
) -> None:  # fmt: skip
    """`expand_slice` of whole sequences, in vLLM's signature."""
    expand_slice(inputs, weights, output, _tokens(indices, lengths), offset, size, add_inputs)


OPERATIONS: dict[str, Any] = {
    "bgmv_shrink": shrink,
    "bgmv_expand": expand,
    "bgmv_expand_slice": expand_slice,
    "sgmv_shrink": sgmv_shrink,
    "sgmv_expand": sgmv_expand,
    "sgmv_expand_slice": sgmv_expand_slice,
}


def install() -> None:
    """Put these operations in the place of vLLM's, in this process; other platforms use other operations."""
    try:
        from vllm.lora.punica_wrapper import punica_cpu
    except ImportError:
        return
    for name, operation in OPERATIONS.items():
        if hasattr(punica_cpu, name):
            setattr(punica_cpu, name, operation)
