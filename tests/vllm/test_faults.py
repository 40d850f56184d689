"""Servers that cannot serve edits, stores that cannot hold them: said at once, with what to do; nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ketools.atlas import weights_path
from ketools.core.errors import EngineRefused, EngineUnavailable, InvalidRequest, MissingExtra, StorageError
from ketools.engines.base import Route
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.attach import PAIRS, find_limits
from ketools.engines.vllm.client import ReplicaClient
from ketools.engines.vllm.compiling import compile_deltas
from ketools.engines.vllm.engine import VLLMEngine
from ketools.engines.vllm.process import VLLMServer
from ketools.engines.vllm.speech import Speech
from ketools.layers.composition import EditLayer
from ketools.models.outline import Outline
from ketools.models.text import encode_pair
from ketools.vllm_plugin.names import folder_of

MakeLayer = Callable[..., EditLayer]
StartVLLM = Callable[..., VLLMServer]
Misfit = tuple[VLLMServer, AdapterStore]


def another_model(folder: Path) -> Path:
    """The bundled model with weights that are not quite its own."""
    shutil.copytree(weights_path(), folder)
    generator = torch.Generator().manual_seed(0)
    weights = load_file(folder / "model.safetensors")
    noisy = {k: v + torch.randn(v.shape, generator=generator).to(v.dtype) * 0.02 for k, v in weights.items()}
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def misfit(
    start_vllm: StartVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[VLLMServer, AdapterStore]]:
    """A server of another model, with a small rank limit, that wraps down projections only."""
    store = AdapterStore(tmp_path_factory.mktemp("adapters"))
    model = another_model(tmp_path_factory.mktemp("models") / "atlas")
    flags = ("--enforce-eager", "--lora-target-modules", "down_proj")
    server = start_vllm(model, store.root, max_rank=8, extra=flags)
    with closing(ReplicaClient(server.url)) as client:
        wait_until_up(client)
    yield server, store
    server.close()


def wait_until_up(client: ReplicaClient, seconds: float = 480.0) -> None:
    import time

    end = time.monotonic() + seconds
    while True:
        try:
            return client.health()
        except EngineUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def test_a_server_of_another_model_is_refused_when_it_is_attached(world: Any, misfit: Misfit) -> None:
    server, store = misfit
    with pytest.raises(EngineRefused, match=r"serves another model.*Start vLLM on the directory"):
        VLLMEngine([server.url], world.outline, store, world.fingerprints, wait_s=60)


def test_too_small_a_rank_limit_is_told_with_the_flag_to_add(world: Any, misfit: Misfit) -> None:
    server, store = misfit
    with pytest.raises(EngineRefused, match="--max-lora-rank 64"):
        VLLMEngine([server.url], world.outline, store, world.fingerprints, wait_s=60, min_rank=33)


def probe(client: ReplicaClient, outline: Outline) -> Callable[[str], list[float]]:
    speech = Speech(outline)
    pairs = [encode_pair(outline, *pair) for pair in PAIRS]
    return lambda model: [value for one in speech.scores(client, model, pairs) for value in one.logprobs]


def test_modules_that_are_not_wrapped_are_found_out_and_told_with_the_flag_to_add(
    world: Any, misfit: Misfit, low_rank: MakeLayer
) -> None:
    server, store = misfit
    with closing(ReplicaClient(server.url)) as client:
        limits = find_limits(client, world.outline, store, 8, probe(client, world.outline))
    assert limits.targets == {"down_proj"} and limits.max_rank == 8
    with pytest.raises(InvalidRequest, match="--lora-target-modules"):
        compile_deltas(low_rank(1).deltas, world.outline.sizes, limits.max_rank, limits.targets)


def test_a_store_that_the_server_does_not_see_is_told(world: Any, tmp_path: Path) -> None:
    store = AdapterStore(tmp_path / "adapters")
    objected = []

    class Elsewhere(AdapterStore):
        def lease(self, name: str) -> Any:
            from contextlib import contextmanager

            @contextmanager
            def moved() -> Iterator[Path]:
                objected.append(name)
                yield Path("/nowhere") / name

            return moved()

    with pytest.raises(EngineRefused, match="Mount the store at the same path"):
        find_limits(world.client, world.outline, Elsewhere(store.root), 8, probe(world.client, world.outline))
    assert objected


def test_nobody_there_is_told_after_the_wait(world: Any) -> None:
    with pytest.raises(EngineUnavailable, match="cannot be reached") as caught:
        VLLMEngine(["http://127.0.0.1:9"], world.outline, world.store, world.fingerprints, wait_s=1.0)
    assert caught.value.retry_after_s > 0


def test_no_server_named_is_told(world: Any) -> None:
    with pytest.raises(InvalidRequest, match="--url"):
        VLLMEngine([], world.outline, world.store, world.fingerprints)
    with pytest.raises(InvalidRequest, match="leave --url out"):
        VLLMEngine([world.server.url], world.outline, world.store, world.fingerprints, in_place=True)


def test_a_python_without_vllm_is_told_with_the_command(tmp_path: Path) -> None:
    import sys

    with pytest.raises(MissingExtra, match="vllm"):
        VLLMServer(weights_path(), tmp_path, tmp_path / "log", Path(sys.executable))
    with pytest.raises(EngineRefused, match="--vllm-python"):
        VLLMServer(weights_path(), tmp_path, tmp_path / "log", tmp_path / "python")


def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StorageError, match="Cannot use"):
        AdapterStore(file)


def test_a_replica_that_no_longer_knows_a_name_gets_it_again(
    world: Any, engine: VLLMEngine, low_rank: MakeLayer
) -> None:
    layer = low_rank(300)
    route = engine.prepare(layer)
    engine.failed(route, reachable=True)
    assert engine.route(layer) is None
    assert engine.prepare(layer) == route
    assert engine.route(layer) == Route(world.server.url, route.model)


def test_an_adapter_that_is_registered_from_another_store_is_taken_from_ours(
    world: Any, engine: VLLMEngine, low_rank: MakeLayer, tmp_path: Path
) -> None:
    name = engine.prepare(low_rank(310)).model
    other = AdapterStore(tmp_path / "adapters")
    shutil.copytree(folder_of(world.store.root, name), folder_of(other.root, name))
    world.client.load(name, folder_of(other.root, name))
    roots = {model["id"]: model.get("root") for model in world.client.models()}
    assert roots[name] == str(folder_of(other.root, name))
    world.client.load(name, folder_of(world.store.root, name))  # before the other store goes
    roots = {model["id"]: model.get("root") for model in world.client.models()}
    assert roots[name] == str(folder_of(world.store.root, name))
