"""The closed forms against explicit inverses in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ketools.core.errors import InvalidRequest
from ketools.models.covariance import cholesky
from ketools.models.solves import Metric, null_space, projected_rows, square_root, update_rows

SEEDS = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def covariance_of(samples: Tensor) -> Tensor:
    return samples.T @ samples / len(samples)


def regularised(c: Tensor, ridge: float) -> Tensor:
    return c + ridge * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype)


@settings(max_examples=25)
@given(width=st.integers(2, 12), seed=SEEDS, ridge=st.floats(1e-4, 1.0))
def test_one_key_without_weight_gives_romes_direction(width: int, seed: int, ridge: float) -> None:
    c, key = covariance_of(normal(seed, 3 * width, width)), normal(seed + 1, width)
    u = update_rows(Metric(cholesky(c, ridge)), key[None], 0.0)[0]
    solved = torch.linalg.solve(regularised(c, ridge), key)
    torch.testing.assert_close(u, solved / (key @ solved), rtol=1e-6, atol=1e-9)
    assert float(u @ key) == pytest.approx(1.0)


@settings(max_examples=25)
@given(n=st.integers(1, 15), seed=SEEDS, weight=st.floats(1e-3, 100.0))
def test_rows_with_a_weight_solve_memits_normal_equations(n: int, seed: int, weight: float) -> None:
    c, keys = covariance_of(normal(seed, 30, 8)), normal(seed + 1, n, 8)
    rows = update_rows(Metric(cholesky(c, 0.01)), keys, weight)
    expected = keys @ torch.linalg.inv(weight * regularised(c, 0.01) + keys.T @ keys)
    torch.testing.assert_close(rows, expected, rtol=1e-6, atol=1e-9)


@settings(max_examples=25)
@given(n=st.integers(1, 6), seed=SEEDS)
def test_without_weight_every_key_is_mapped_exactly_and_memit_tends_to_that(n: int, seed: int) -> None:
    c, keys = covariance_of(normal(seed, 40, 12)), normal(seed + 1, n, 12)
    metric = Metric(cholesky(c, 0.01))
    exact = update_rows(metric, keys, 0.0)
    torch.testing.assert_close(exact @ keys.T, torch.eye(n, dtype=torch.float64), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(update_rows(metric, keys, 1e-12), exact, rtol=1e-6, atol=1e-6)


@settings(max_examples=25)
@given(n=st.integers(1, 12), m=st.integers(0, 20), seed=SEEDS, weight=st.floats(1e-3, 100.0))
def test_single_keys_count_beside_the_covariance(n: int, m: int, seed: int, weight: float) -> None:
    c, keys, spared = covariance_of(normal(seed, 30, 8)), normal(seed + 1, n, 8), normal(seed + 2, m, 8)
    whole = regularised(c, 0.01) + spared.T @ spared
    metric = Metric(cholesky(c, 0.01), spared)
    torch.testing.assert_close(metric.solve(keys.T), torch.linalg.solve(whole, keys.T), rtol=1e-6, atol=1e-9)
    expected = keys @ torch.linalg.inv(weight * whole + keys.T @ keys)
    torch.testing.assert_close(update_rows(metric, keys, weight), expected, rtol=1e-6, atol=1e-9)


def test_what_is_spared_stays_the_more_the_more_it_counts() -> None:
    c, key, other = covariance_of(normal(0, 30, 8)), normal(1, 1, 8), normal(2, 1, 8)
    moved = [
        float((update_rows(Metric(cholesky(c, 0.01), weight**0.5 * other), key, 0.0) @ other.T).abs())
        for weight in (0.0, 1.0, 100.0)
    ]
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 0.02 * moved[0]


def test_keys_that_depend_on_each_other_cannot_all_be_mapped_exactly() -> None:
    keys = normal(0, 2, 8)
    with pytest.raises(InvalidRequest, match="memit"):
        update_rows(Metric(cholesky(covariance_of(normal(1, 30, 8)), 0.01)), torch.cat([keys, keys[:1]]), 0.0)


@settings(max_examples=25)
@given(known=st.integers(1, 9), n=st.integers(1, 4), seed=SEEDS)
def test_an_update_in_the_null_space_leaves_what_is_known_alone(known: int, n: int, seed: int) -> None:
    preserved, keys = normal(seed, known, 12), normal(seed + 1, n, 12)
    basis = null_space(covariance_of(preserved), 1e-9)
    assert basis.shape == (12, 12 - known)
    rows = projected_rows(basis, keys, keys[:0], ridge=1e-2)
    assert float((rows @ preserved.T).abs().max()) < 1e-5


@settings(max_examples=25)
@given(n=st.integers(1, 4), m=st.integers(0, 3), seed=SEEDS)
def test_projected_rows_solve_alphaedits_equation(n: int, m: int, seed: int) -> None:
    keys, earlier = normal(seed, n, 12), normal(seed + 1, m, 12)
    basis = null_space(covariance_of(normal(seed + 2, 5, 12)), 1e-9)
    p = basis @ basis.T
    lam = 0.1 * (keys @ p).square().sum(1).mean()
    system = earlier.T @ earlier @ p + keys.T @ keys @ p + lam * torch.eye(12, dtype=torch.float64)
    expected = keys @ p @ torch.linalg.inv(system)
    torch.testing.assert_close(projected_rows(basis, keys, earlier, 0.1), expected, rtol=1e-6, atol=1e-9)


def test_rows_of_more_keys_than_are_solved_at_once_are_those_of_one_solve() -> None:
    c, keys = covariance_of(normal(1, 30, 8)), normal(2, 1100, 8)
    rows = update_rows(Metric(cholesky(c, 0.01)), keys.float(), 3.0)
    expected = keys @ torch.linalg.inv(3.0 * regularised(c, 0.01) + keys.T @ keys)
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows.double(), expected, rtol=1e-4, atol=1e-8)
    basis = torch.eye(8, dtype=torch.float64)
    system = 2 * keys.T @ keys + 0.1 * keys.square().sum(1).mean() * basis
    torch.testing.assert_close(projected_rows(basis, keys, keys, 0.1), keys @ torch.linalg.inv(system))


def test_a_null_space_that_is_empty_says_what_to_raise() -> None:
    with pytest.raises(InvalidRequest, match="raise null_space"):
        null_space(torch.eye(8, dtype=torch.float64), 0.01)


@settings(max_examples=25)
@given(rank=st.integers(0, 12), seed=SEEDS)
def test_a_square_root_has_the_covariance_as_its_gram_matrix(rank: int, seed: int) -> None:
    samples = normal(seed, rank, 9)
    root = square_root(samples.T @ samples)
    torch.testing.assert_close(root.T @ root, samples.T @ samples, rtol=1e-9, atol=1e-9)
