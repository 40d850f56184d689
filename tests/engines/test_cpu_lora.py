"""The LoRA operations for CPUs against the sum written out, token by token."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ketools.vllm_plugin.cpu_lora import expand, expand_slice, sgmv_expand_slice, sgmv_shrink, shrink

SLOTS, WIDTH, OUT, RANK = 3, 7, 5, 2
INDICES = st.lists(st.integers(-1, SLOTS - 1), min_size=1, max_size=9)


def factors(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(SLOTS, 1, RANK, WIDTH, generator=generator)
    return a, torch.randn(SLOTS, 1, OUT, RANK, generator=generator)


@settings(max_examples=60)
@given(INDICES, st.integers(0, 100), st.floats(0.1, 2.0))
def test_each_token_gets_its_own_adapter_and_those_without_one_get_nothing(
    indices: list[int], seed: int, scaling: float
) -> None:
    a, b = factors(seed)
    slots = torch.tensor(indices)
    x, y = torch.randn(len(indices), WIDTH), torch.randn(len(indices), OUT)
    before, buffer = y.clone(), torch.full((len(indices), RANK), 9.0)
    shrink(x, a, buffer, slots, scaling)
    expand(buffer, b, y, slots, True)
    for t, slot in enumerate(indices):
        change = b[slot, 0] @ (scaling * (a[slot, 0] @ x[t])) if slot >= 0 else torch.zeros(OUT)
        assert torch.allclose(y[t], before[t] + change, atol=1e-4)
        assert slot >= 0 or torch.equal(y[t], before[t]), "not even a rounding"


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(-1, SLOTS - 1), st.integers(1, 4)), min_size=1, max_size=4), st.integers(0, 100))
def test_whole_sequences_are_tokens_of_one_adapter(sequences: list[tuple[int, int]], seed: int) -> None:
    a, b = factors(seed)
    slots, lengths = (torch.tensor(column) for column in zip(*sequences, strict=True))
    tokens = torch.repeat_interleave(slots, lengths)
    x, whole = torch.randn(len(tokens), WIDTH), torch.zeros(len(tokens), 2 * OUT)
    buffer = torch.empty(len(tokens), RANK)
    more = (torch.zeros_like(slots), lengths, slots, len(slots), int(lengths.max()), len(tokens))
    sgmv_shrink(x, a, buffer, *more, 1.0)
    sgmv_expand_slice(buffer, b, whole, *more, OUT, OUT, True)
    wanted, small = torch.zeros(len(tokens), 2 * OUT), torch.empty(len(tokens), RANK)
    shrink(x, a, small, tokens)
    expand_slice(small, b, wanted, tokens, OUT, OUT)
    assert torch.equal(whole, wanted)
    assert torch.equal(whole[:, :OUT], torch.zeros(len(tokens), OUT))


def test_without_adding_the_output_is_replaced() -> None:
    _, b = factors(0)
    y = torch.full((2, OUT), 7.0)
    expand(torch.zeros(2, RANK), b, y, torch.tensor([0, -1]), False)
    assert torch.equal(y, torch.zeros(2, OUT))
