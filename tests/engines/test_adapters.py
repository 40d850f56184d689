"""Layers become adapters: exact where they fit, best otherwise, named by content, never lost or mixed up."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ketools.core.errors import InvalidRequest, StorageError
from ketools.engines.vllm.adapters import Adapter, AdapterStore
from ketools.engines.vllm.compiling import Compiled, compile_deltas
from ketools.layers.changes import ModuleDelta
from ketools.vllm_plugin.names import CONFIG, WEIGHTS, base_of, folder_of, held_by, is_name, is_whole
from ketools.vllm_plugin.resolver import find

NAME = "model.layers.0.mlp.down_proj"
TARGETS = frozenset({"down_proj"})


def delta(seed: int, width: int, out: int, rank: int, dense: bool) -> ModuleDelta:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, width, generator=generator), torch.randn(out, rank, generator=generator)
    return ModuleDelta(dense=b @ a) if dense else ModuleDelta(a=a, b=b)


def compiled(change: ModuleDelta, limit: int) -> Compiled:
    return compile_deltas({NAME: change}, {NAME: change.sizes}, limit, TARGETS)


@settings(max_examples=40)
@given(
    st.integers(0, 1000), st.integers(2, 12), st.integers(2, 12), st.integers(1, 8), st.booleans(), st.integers(1, 16)
)
def test_a_compiled_change_is_the_best_one_of_its_rank_and_tells_what_is_lost(
    seed: int, width: int, out: int, rank: int, dense: bool, limit: int
) -> None:
    change = delta(seed, width, out, rank, dense)
    result = compiled(change, limit)
    a, b = result.factors[NAME]
    assert a.shape[0] <= limit and b.shape[1] == a.shape[0]
    whole = change.matrix().double()
    values = torch.linalg.svdvals(whole)
    best = float((values[limit:] ** 2).sum() / (values**2).sum())
    lost = float(((whole - b.double() @ a.double()) ** 2).sum() / (whole**2).sum())
    assert lost == pytest.approx(best, abs=1e-6)
    assert result.residual == pytest.approx(best, abs=1e-6)


def test_factors_that_fit_are_kept_as_they_are() -> None:
    change = delta(1, 6, 5, 3, dense=False)
    a, b = compiled(change, 4).factors[NAME]
    assert change.a is not None and change.b is not None
    assert torch.equal(a, change.a) and torch.equal(b, change.b)


def test_a_mixture_of_dense_and_low_rank_is_summed_before_it_is_cut() -> None:
    low, full = delta(1, 6, 5, 2, dense=False), delta(2, 6, 5, 2, dense=True)
    both = ModuleDelta(a=low.a, b=low.b, dense=full.dense)
    a, b = compiled(both, 4).factors[NAME]
    assert torch.allclose(b @ a, both.matrix(), atol=1e-5)


def test_a_large_matrix_is_cut_by_a_randomised_decomposition_the_same_way_each_time() -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.randn(2100, 20, generator=generator) @ torch.randn(20, 2100, generator=generator)
    change = ModuleDelta(dense=low)
    one, two = compiled(change, 24), compiled(change, 24)
    assert one.residual < 1e-6
    assert all(torch.equal(x, y) for x, y in zip(one.factors[NAME], two.factors[NAME], strict=True))


@pytest.mark.parametrize(
    ("sizes", "change", "why"),
    [
        ({}, delta(1, 4, 3, 1, False), "no linear module"),
        ({NAME: (5, 3)}, delta(1, 4, 3, 1, False), "another model"),
        ({NAME: (4, 3)}, ModuleDelta(a=torch.full((1, 4), float("inf")), b=torch.ones(3, 1)), "NaN"),
    ],
)
def test_what_does_not_fit_is_refused(sizes: dict[str, tuple[int, int]], change: ModuleDelta, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        compile_deltas({NAME: change}, sizes, 4, TARGETS)


def test_a_module_that_the_server_does_not_wrap_is_refused_with_the_flag() -> None:
    with pytest.raises(InvalidRequest, match="--lora-target-modules"):
        compile_deltas({NAME: delta(1, 4, 3, 1, False)}, {NAME: (4, 3)}, 4, frozenset({"o_proj"}))


@pytest.fixture()
def store(tmp_path: Path) -> AdapterStore:
    return AdapterStore(tmp_path / "adapters")


def put(store: AdapterStore, seed: int = 0, base: str = "model") -> Adapter:
    return store.put(compiled(delta(seed, 6, 5, 2, dense=False), 4), base)


def test_the_same_content_has_the_same_name_and_other_content_another(store: AdapterStore) -> None:
    assert put(store) == put(store)
    assert len({put(store, seed).name for seed in range(5)} | {put(store, base="other").name}) == 6
    assert all(is_name(name) and is_whole(store.root, name) for name in store.names())


def test_what_a_key_was_compiled_to_is_remembered_while_it_is_whole(store: AdapterStore) -> None:
    adapter = put(store)
    assert store.known("key") is None
    store.remember("key", adapter)
    assert store.known("key") == adapter
    (folder_of(store.root, adapter.name) / WEIGHTS).write_bytes(b"damaged")
    assert store.known("key") is None
    assert put(store) == adapter and is_whole(store.root, adapter.name), "stored again over the damaged one"


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_damaged_adapter_is_neither_leased_nor_resolved(store: AdapterStore, file: str) -> None:
    name = put(store).name
    assert find(store.root, name) == folder_of(store.root, name)
    with (folder_of(store.root, name) / file).open("ab") as stream:
        stream.write(b" ")
    assert find(store.root, name) is None
    with pytest.raises(StorageError, match="missing or damaged"), store.lease(name):
        pass


@pytest.mark.parametrize("name", ["", "ke-", "../x", "ke-" + "g" * 64, "ke-" + "0" * 64 + "/..", "KE-" + "0" * 64])
def test_only_content_hashes_are_names(store: AdapterStore, name: str) -> None:
    assert not is_name(name) and find(store.root, name) is None
    with pytest.raises(ValueError, match="not the name"):
        folder_of(store.root, name)


def test_an_adapter_is_resolved_only_for_the_weights_that_it_was_compiled_for(store: AdapterStore) -> None:
    name = put(store, base=base_of("model", "change")).name
    assert held_by(folder_of(store.root, name)) == "change"
    assert find(store.root, name) is None and find(store.root, name, "change") is not None


def test_collecting_keeps_what_is_registered_and_what_was_leased_lately(store: AdapterStore) -> None:
    registered, leased, old = (put(store, seed).name for seed in range(3))
    store.remember("key", Adapter(old, 2, 0.0))
    for name in (registered, leased, old):
        os.utime(folder_of(store.root, name), (time.time() - 100,) * 2)
    with store.lease(leased):
        pass
    assert store.collect(lambda: {registered}, grace_s=50) == {old}
    assert store.names() == {registered, leased} and store.known("key") is None


def test_nothing_is_collected_when_a_replica_cannot_be_asked(store: AdapterStore) -> None:
    name = put(store).name
    os.utime(folder_of(store.root, name), (0, 0))

    def unreachable() -> set[str]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.collect(unreachable, grace_s=1)
    assert is_whole(store.root, name)


def test_a_half_written_adapter_never_shows_under_its_name(store: AdapterStore) -> None:
    name = put(store).name
    shutil.rmtree(folder_of(store.root, name))
    left = store.root / name[3:5] / ".crashed.tmp"
    left.mkdir(parents=True)
    assert store.names() == set()
    assert put(store).name == name and store.names() == {name}
