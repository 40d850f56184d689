from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from ketools.codebook import Codebook, joined


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
    both = joined([one, two])
    assert both is not None and joined([]) is None
    assert torch.equal(both.output(torch.cat([one.keys, two.keys])), torch.cat([one.values, two.values]))
