from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ketools.layers import codebook
from ketools.layers.codebook import Blocks, Codebook, read_codebooks


def book(seed: int, n: int = 3, radius: float = 1.0) -> Codebook:
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(n, 4, generator=generator), torch.randn(n, 5, generator=generator)
    return Codebook(keys, values, torch.full((n, 1), radius))


@given(st.integers(0, 1000), st.floats(0.0, 3.0))
def test_the_nearest_key_within_its_radius_decides(seed: int, radius: float) -> None:
    chosen = book(seed, radius=radius)
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(seed + 1))
    out = chosen.output(x)
    for row, change in zip(x.reshape(-1, 4), out.reshape(-1, 5), strict=True):
        distances = (chosen.keys.double() - row.double()).norm(dim=1)
        nearest = int(distances.argmin())
        if abs(float(distances[nearest]) - radius) > 1e-5:
            wanted = chosen.values[nearest] if distances[nearest] <= radius else torch.zeros(5)
            assert torch.equal(change, wanted)


def test_a_key_itself_is_always_within_and_books_join() -> None:
    one, two = book(1, radius=0.0), book(2, radius=0.0)
    both = Codebook.joined([one, two])
    assert torch.equal(both.output(torch.cat([one.keys, two.keys])), torch.cat([one.values, two.values]))


def test_of_equally_near_keys_the_newest_decides() -> None:
    old, new = book(1), replace(book(1), values=book(2).values)
    both = Codebook.joined([old, new])
    assert torch.equal(both.output(old.keys), new.values)


@given(st.integers(0, 1000))
def test_the_nearest_of_many_keys_is_found_however_far_from_the_origin(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(300, 16, generator=generator) + 50
    x = keys[::7] + 0.1 * torch.randn(43, 16, generator=generator)
    many = Codebook(keys, torch.zeros(300, 2), torch.ones(300, 1))
    nearest, _ = many.nearest(x)
    exact = torch.cdist(x.double(), keys.double()).argmin(1)
    assert torch.equal(nearest, exact)


def test_distances_are_held_some_at_a_time_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    many, x = with_blocks(3, 40, 4), torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(4))
    whole, (nearest, inside) = many.output(x), many.nearest(x)
    monkeypatch.setattr(codebook, "_DISTANCES", 90)
    again, inside_again = many.nearest(x)
    assert torch.equal(inside, inside_again) and torch.equal(nearest[inside], again[inside])
    torch.testing.assert_close(many.output(x), whole)
    assert many.output(x[:0]).shape == (0, 50, 5)


def with_blocks(seed: int, n: int, rank: int) -> Codebook:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 4, generator=generator), torch.randn(5, rank, generator=generator)
    spans = torch.randint(rank + 1, (n, 2), generator=generator).sort(1).values.float()
    return replace(book(seed, n, radius=1.5), blocks=Blocks(a, b, spans))


@given(st.integers(0, 1000))
def test_an_input_gets_the_block_of_its_key_whatever_other_books_are_joined(seed: int) -> None:
    books = [with_blocks(seed, 2, 3), book(seed + 1, radius=1.5), with_blocks(seed + 2, 3, 2)]
    both = Codebook.joined(books)
    assert both is not None and both.blocks is not None
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(seed + 3))
    for row, change in zip(x, both.output(x), strict=True):
        owner = min(books, key=lambda one: float((one.keys - row).norm(dim=1).min()))
        nearest = int((owner.keys - row).norm(dim=1).argmin())
        wanted = torch.zeros(5)
        if float((owner.keys[nearest] - row).norm()) <= 1.5:
            wanted = owner.values[nearest]
            if owner.blocks is not None:
                first, last = owner.blocks.spans[nearest].int().tolist()
                wanted = wanted + owner.blocks.b[:, first:last] @ owner.blocks.a[first:last] @ row
        torch.testing.assert_close(change, wanted, rtol=1e-4, atol=1e-5)


def test_parts_are_read_back_by_module_and_can_be_differentiated_through() -> None:
    one, two = book(1), with_blocks(2, 2, 3)
    tensors = {f"{letter}:{name}": t for name, each in (("m", one), ("n", two)) for letter, t in each.tensors().items()}
    found = read_codebooks(tensors)
    assert list(found) == ["m", "n"] and found["m"].blocks is None
    assert all(torch.equal(t, two.tensors()[letter]) for letter, t in found["n"].tensors().items())
    x = (two.keys + 0.01).requires_grad_(True)
    torch.autograd.backward(found["n"].output(x).sum())
    assert x.grad is not None and bool(x.grad.abs().sum() > 0)
