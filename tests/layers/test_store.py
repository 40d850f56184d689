"""Artefacts survive a round trip bit for bit, and a damaged store says so."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from torch import Tensor

from ketools.core.errors import Diverged, InvalidRequest, StorageError
from ketools.core.requests import EditRequest, Kind, Probe, Trait
from ketools.layers.artefacts import Artefact
from ketools.layers.codebook import Blocks, Codebook
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.hook import HookState
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.kinds.note import Note
from ketools.layers.kinds.routed import RoutedDelta
from ketools.layers.store import ArtefactStore, decode, encode


def france(target: str = "Lyon") -> EditRequest:
    return EditRequest(subject="France", prompt="The capital of France is", target_new=target)


def matrix(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def low_rank(seed: int = 0) -> LowRankDelta:
    return LowRankDelta(
        "rome", {"layers.1.down_proj": (matrix(2, 5, seed), matrix(3, 2, seed + 1))}, {"layer": 1, "loss": 0.25}
    )


@pytest.fixture
def store(tmp_path: Path) -> ArtefactStore:
    return ArtefactStore(tmp_path / "artefacts")


def path_of(store: ArtefactStore, name: str) -> Path:
    return next(store.root.glob(f"*/{name}.safetensors"))


def same_bits(a: Artefact, b: Artefact) -> bool:
    mine, other = a.tensors(), b.tensors()
    return mine.keys() == other.keys() and all(
        mine[name].shape == other[name].shape
        and mine[name].dtype == other[name].dtype
        and torch.equal(mine[name].view(torch.int32), other[name].view(torch.int32))
        for name in mine
    )


words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=12)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
scalars = st.one_of(st.integers(-(2**60), 2**60), st.floats(allow_nan=False, allow_infinity=False), st.text())


@st.composite
def matrices(draw: st.DrawFn, rows: int, columns: int) -> Tensor:
    size = rows * columns
    numbers = draw(st.lists(floats, min_size=size, max_size=size))
    return torch.tensor(numbers, dtype=torch.float32).reshape(rows, columns)


@st.composite
def notes(draw: st.DrawFn) -> Note:
    subject = draw(words)
    kind = draw(st.sampled_from(Kind))
    request = EditRequest(
        kind=kind,
        subject=subject,
        prompt=f"About {subject} {draw(words)}",
        target_new=draw(words),
        target_old=draw(st.none() | words),
        trait=Trait.POSITIVE if kind is Kind.PERSONALITY else None,
        rephrases=tuple(draw(st.lists(words, max_size=3))),
        probes=tuple(Probe(prompt=prompt, chat=True) for prompt in draw(st.lists(words, max_size=2))),
    )
    return Note(draw(words), request)


@st.composite
def low_ranks(draw: st.DrawFn) -> LowRankDelta:
    factors = {}
    for module in draw(st.lists(words, max_size=3, unique=True)):
        rank, width, height = (draw(st.integers(low, 3)) for low in (0, 1, 1))
        factors[module] = (draw(matrices(rank, width)), draw(matrices(height, rank)))
    return LowRankDelta(draw(words), factors, draw(st.dictionaries(words, scalars, max_size=3)))


@st.composite
def dense(draw: st.DrawFn) -> DenseDelta:
    names = draw(st.lists(words, max_size=3, unique=True))
    return DenseDelta(draw(words), {name: draw(matrices(2, 3)) for name in names}, {"steps": 3})


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(notes(), low_ranks(), dense()))
def test_every_artefact_survives_a_round_trip_bit_for_bit(artefact: Artefact) -> None:
    back = decode(encode(artefact))
    assert type(back) is type(artefact)
    assert back.method == artefact.method
    assert same_bits(back, artefact)
    assert json.dumps(back.header(), sort_keys=True) == json.dumps(artefact.header(), sort_keys=True)


def test_a_stored_artefact_comes_back_from_another_store_object(store: ArtefactStore) -> None:
    for artefact in (Note("ice", france()), low_rank(), DenseDelta("ft-m", {"m": matrix(3, 4)})):
        name = store.put(artefact)
        assert same_bits(ArtefactStore(store.root).get(name), artefact)


def test_the_name_is_the_checksum_of_a_file_that_safetensors_reads(store: ArtefactStore) -> None:
    artefact = low_rank()
    path = path_of(store, store.put(artefact))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    assert torch.equal(load_file(path)["B:layers.1.down_proj"], artefact.factors["layers.1.down_proj"][1])


def test_the_same_content_has_the_same_name_on_every_machine(store: ArtefactStore) -> None:
    assert store.put(Note("ice", france())) == ("3988cb9717d1dbb2af82ee799cd9adfbb1be1168f07dc2743f44b6836933fc46")
    one, two = matrix(2, 3), matrix(2, 3, seed=1)
    forward = store.put(DenseDelta("ft-m", {"a": one, "b": two}, {"x": 1, "y": 2.0}))
    assert store.put(DenseDelta("ft-m", {"b": two, "a": one}, {"y": 2.0, "x": 1})) == forward
    assert store.put(DenseDelta("ft-m", {"a": two, "b": one}, {"x": 1, "y": 2.0})) != forward


def test_storing_twice_keeps_one_untouched_file(store: ArtefactStore) -> None:
    name = store.put(low_rank())
    inode = path_of(store, name).stat().st_ino
    assert store.put(low_rank()) == name
    assert path_of(store, name).stat().st_ino == inode
    assert list(store.hashes()) == [name]
    assert store.size(name) == path_of(store, name).stat().st_size


def test_many_threads_may_store_and_read_the_same_artefacts(store: ArtefactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda i: store.put(low_rank(i % 3)), range(24)))
        found = list(pool.map(store.get, names))
    assert len(set(names)) == 3
    assert all(same_bits(artefact, low_rank(i % 3)) for i, artefact in enumerate(found))
    assert not list(store.root.glob("*/.*.tmp"))


def test_what_a_caller_does_to_its_tensors_later_changes_nothing(store: ArtefactStore) -> None:
    mine = matrix(3, 4)
    name = store.put(DenseDelta("ft-m", {"m": mine}))
    mine.zero_()
    assert same_bits(store.get(name), DenseDelta("ft-m", {"m": matrix(3, 4)}))


def test_writing_into_a_returned_artefact_is_not_seen_by_the_next_reader(store: ArtefactStore) -> None:
    name = store.put(DenseDelta("ft-m", {"m": matrix(3, 4)}))
    store.get(name).tensors()["D:m"].zero_()
    assert same_bits(store.get(name), DenseDelta("ft-m", {"m": matrix(3, 4)}))


def test_an_artefact_read_while_serving_can_be_differentiated_through_later(store: ArtefactStore) -> None:
    name = store.put(DenseDelta("ft-m", {"m": matrix(3, 4)}))
    with torch.inference_mode():
        delta = store.get(name).tensors()["D:m"]
    x = torch.ones(4, requires_grad=True)
    torch.autograd.backward((delta @ x).sum())
    assert x.grad is not None
    assert torch.equal(x.grad, delta.sum(0))


def test_the_cache_stays_within_its_bytes(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path, cache_bytes=1500)
    names = [store.put(DenseDelta("ft-m", {"m": matrix(10, 10, seed)})) for seed in range(4)]
    kept = [store.get(name) for name in names]
    assert store.get(names[-1]) is kept[-1]
    assert store.get(names[0]) is not kept[0]
    assert same_bits(store.get(names[0]), kept[0])


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"!", lambda data: b""])
def test_a_damaged_file_is_named_with_what_to_do_and_stored_anew_on_request(
    store: ArtefactStore, damage: object
) -> None:
    name = store.put(low_rank())
    path = path_of(store, name)
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StorageError, match=rf"{name}.*corrupt.*backup"):
        store.get(name)
    assert store.put(low_rank()) == name
    assert same_bits(store.get(name), low_rank())


def test_a_file_with_the_right_name_but_wrong_content_is_corrupt(store: ArtefactStore) -> None:
    head = '{"format":1,"method":"ft-m","type":"dense","metadata":{}}'
    for data in (
        save({"D:m": torch.full((1, 1), torch.nan)}, {"ketools": head}),
        save({"D:m": torch.ones(1)}, {"ketools": head}),
        save({"D:m": torch.ones(1, 1)}, {"ketools": head.replace('"format":1', '"format":2')}),
        save({"D:m": torch.ones(1, 1)}),
        save({}, {"ketools": '{"format":1,"method":"ice","type":"note","request":{"subject":"x"}}'}),
        save({"A:m": torch.ones(1, 1)}, {"ketools": head.replace("dense", "low_rank")}),
        b"not safetensors",
    ):
        name = hashlib.sha256(data).hexdigest()
        path = store.root / name[:2] / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        with pytest.raises(StorageError, match="corrupt"):
            store.get(name)


def test_a_missing_file_is_a_storage_error_and_a_bad_hash_an_invalid_request(store: ArtefactStore) -> None:
    with pytest.raises(StorageError, match=r"No such file.*backup"):
        store.get("0" * 64)
    with pytest.raises(StorageError, match="No such file"):
        store.size("0" * 64)
    for bad in ("", "../../../etc/passwd", "0" * 63, "G" * 64, "0" * 64 + "\n"):
        with pytest.raises(InvalidRequest, match="64 hexadecimal"):
            store.get(bad)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite_are_refused(store: ArtefactStore, bad: float) -> None:
    delta = matrix(2, 2)
    delta[0, 1] = bad
    with pytest.raises(Diverged, match="NaN or infinity"):
        store.put(DenseDelta("ft-m", {"m": delta}))
    with pytest.raises(InvalidRequest, match="metadata"):
        store.put(DenseDelta("ft-m", {}, {"loss": bad}))
    assert list(store.hashes()) == []


def test_wrong_shapes_and_types_are_refused(store: ArtefactStore) -> None:
    with pytest.raises(InvalidRequest, match="rank"):
        store.put(LowRankDelta("rome", {"m": (matrix(2, 3), matrix(4, 3))}))
    with pytest.raises(InvalidRequest, match="float32 matrix"):
        store.put(DenseDelta("ft-m", {"m": matrix(2, 2).double()}))
    with pytest.raises(InvalidRequest, match="float32 matrix"):
        store.put(DenseDelta("ft-m", {"m": torch.ones(3)}))


def test_collection_takes_only_what_is_neither_live_nor_young(store: ArtefactStore) -> None:
    old, live, young = (store.put(low_rank(seed)) for seed in range(3))
    leftover = path_of(store, old).with_name(".left.tmp")
    leftover.write_bytes(b"half")
    hour_ago = time.time() - 3600
    for path in (path_of(store, old), path_of(store, live), leftover):
        os.utime(path, (hour_ago, hour_ago))
    assert store.get(old) is store.get(old)
    assert store.collect({live}, grace_s=60) == {old}
    assert set(store.hashes()) == {live, young}
    assert not leftover.exists()
    with pytest.raises(StorageError):
        store.get(old)


def test_storing_again_protects_an_old_artefact_from_the_next_collection(store: ArtefactStore) -> None:
    name = store.put(low_rank())
    os.utime(path_of(store, name), (0, 0))
    store.put(low_rank())
    assert store.collect(set(), grace_s=60) == set()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make the kernel refuse to let any file grow past a size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_a_storage_error_and_leaves_nothing_half_written(store: ArtefactStore) -> None:
    with file_size_limit(100), pytest.raises(StorageError, match="Free some disk space"):
        store.put(low_rank())
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.root / ".lock"]
    assert same_bits(store.get(store.put(low_rank())), low_rank())


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"Cannot use .*file.*then call again"):
        ArtefactStore(tmp_path / "file" / "artefacts")


def test_storing_a_note_costs_about_a_millisecond_of_processor_time(store: ArtefactStore) -> None:
    def cost(i: int) -> float:
        start = time.thread_time()
        store.put(Note("ice", france(f"Lyon {i}")))
        return time.thread_time() - start

    assert statistics.median(cost(i) for i in range(40)) < 3e-3


def test_a_hook_state_survives_a_round_trip_and_needs_a_value_and_a_radius_for_each_key() -> None:
    book = Codebook(matrix(2, 5), matrix(2, 3), matrix(2, 1).abs())
    state = HookState("grace", {"layers.1.down_proj": book}, {"layer": 1})
    again = decode(encode(state))
    assert isinstance(again, HookState) and same_bits(state, again) and dict(again.metadata) == {"layer": 1}
    with pytest.raises(InvalidRequest, match="as many values and radii"):
        encode(HookState("grace", {"m": Codebook(matrix(2, 5), matrix(1, 3), matrix(2, 1))}))


def test_a_hook_state_with_blocks_survives_a_round_trip_and_needs_ranks_for_each_key() -> None:
    blocks = Blocks(matrix(4, 5), matrix(3, 4), torch.tensor([[0.0, 4.0], [1.0, 3.0]]))
    book = Codebook(matrix(2, 5), matrix(2, 3), matrix(2, 1).abs(), blocks)
    state = HookState("melo", {"layers.1.down_proj": book}, {"layer": 1})
    again = decode(encode(state))
    assert isinstance(again, HookState) and same_bits(state, again)
    assert again.codebooks["layers.1.down_proj"].blocks is not None
    for spans in ([[0.0, 4.0]], [[0.0, 5.0], [0.0, 1.0]], [[2.0, 1.0], [0.0, 1.0]], [[0.5, 1.0], [0.0, 1.0]]):
        wrong = replace(book, blocks=replace(blocks, spans=torch.tensor(spans)))
        with pytest.raises(InvalidRequest, match="a first and a last rank"):
            encode(HookState("melo", {"m": wrong}))


def test_a_routed_delta_survives_a_round_trip_with_the_request_whose_scope_it_has(store: ArtefactStore) -> None:
    made = RoutedDelta("routed", france(), low_rank().factors, {"steps": 12})
    back = ArtefactStore(store.root).get(store.put(made))
    assert isinstance(back, RoutedDelta)
    assert (back.request, dict(back.metadata)) == (france(), {"steps": 12})
    assert same_bits(LowRankDelta("routed", back.factors), LowRankDelta("routed", made.factors))
