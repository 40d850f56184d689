"""A real vLLM on the bundled model, started once for the session by ketools' own supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from ketools.atlas import weights_path
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.attach import Fingerprints, model_fingerprint
from ketools.engines.vllm.client import ReplicaClient
from ketools.engines.vllm.engine import VLLMEngine
from ketools.engines.vllm.process import VLLMFlags, VLLMServer
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.store import content_hash
from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable
from ketools.models.outline import Outline, read_outline

MAX_RANK = 16
START_S = 480.0


def vllm_python() -> Path:
    """The interpreter with vLLM; `make test` names it. Without one these tests cannot run."""
    named = os.environ.get("KETOOLS_VLLM_PYTHON")
    python = Path(named or Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python").absolute()
    if not python.exists():
        if named:
            pytest.fail(f"{python} does not exist; run `make vllm`")
        pytest.skip("no vLLM: run `make vllm`")
    return python


@dataclass(frozen=True)
class World:
    """What the tests of the served model share."""

    server: VLLMServer
    store: AdapterStore
    outline: Outline
    em: EditableModel
    fingerprints: Fingerprints
    client: ReplicaClient

    def engine(self, **options: float) -> VLLMEngine:
        return VLLMEngine([self.server.url], self.outline, self.store, self.fingerprints, wait_s=START_S, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def start_vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., VLLMServer]]:
    """Starts supervised servers, which are stopped when the session ends."""
    servers: list[VLLMServer] = []

    def start(model: Path, adapters: Path, name: str = "atlas", **flags: object) -> VLLMServer:
        folder = tmp_path_factory.mktemp("vllm")
        server = VLLMServer(
            model,
            adapters,
            folder / "vllm.log",
            vllm_python(),
            served_name=name,
            flags=VLLMFlags(**{"max_rank": MAX_RANK, "dtype": "float32", "extra": ("--enforce-eager",), **flags}),  # type: ignore[arg-type]
        )
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def world(start_vllm: Callable[..., VLLMServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The bundled model served by vLLM, its outline and the editor's copy."""
    running = os.environ.get("KETOOLS_TEST_VLLM")  # PORT:ADAPTERS of one that is up, to write tests faster
    if running:
        port, _, adapters = running.partition(":")
        store = AdapterStore(Path(adapters))
        server = VLLMServer(weights_path(), store.root, store.root / "vllm.log", vllm_python(), port=int(port))
    else:
        store = AdapterStore(tmp_path_factory.mktemp("adapters"))
        server = start_vllm(weights_path(), store.root)
    outline, em = read_outline(weights_path()), load_editable(weights_path())
    fingerprints = Fingerprints(
        outline, lambda kinds: model_fingerprint(em, outline, kinds), tmp_path_factory.mktemp("fingerprints")
    )
    with closing(ReplicaClient(server.url)) as client:
        yield World(server, store, outline, em, fingerprints, client)


@pytest.fixture(scope="session")
def engine(world: World) -> Iterator[VLLMEngine]:
    """One engine on the shared server."""
    with closing(world.engine()) as engine:
        yield engine


@pytest.fixture(scope="session")
def local() -> LocalEngine:
    """The reference: the same weights in transformers, in double precision."""
    em = load_editable(weights_path())
    em.model.double()
    return LocalEngine(em)


def _layer(artefacts: Sequence[Artefact]) -> EditLayer:
    return BASE.with_edits(*(LiveEdit(f"e{i}", content_hash(a), a) for i, a in enumerate(artefacts)))


@pytest.fixture(scope="session")
def low_rank(world: World) -> Callable[..., EditLayer]:
    """A random low-rank layer on the modules of one block (or on named ones), strong enough to be seen."""

    def make(seed: int, rank: int = 2, modules: Sequence[str] = (), scale: float = 0.05) -> EditLayer:
        generator = torch.Generator().manual_seed(seed)
        names = modules or [m for m in world.outline.sizes if ".layers.2." in m]
        factors = {}
        for name in names:
            width, out = world.outline.sizes[name]
            a, b = torch.randn(rank, width, generator=generator), torch.randn(out, rank, generator=generator)
            factors[name] = (a * scale, b * scale)
        return _layer([LowRankDelta("test", MappingProxyType(factors))])

    return make


@pytest.fixture(scope="session")
def dense(world: World) -> Callable[..., EditLayer]:
    """A dense layer on one module: of the given rank, or full."""

    def make(seed: int, rank: int | None = None, module: str = "model.layers.4.mlp.down_proj") -> EditLayer:
        generator = torch.Generator().manual_seed(seed)
        width, out = world.outline.sizes[module]
        delta = torch.randn(out, width, generator=generator) * 0.01
        if rank is not None:
            b, a = torch.randn(out, rank, generator=generator), torch.randn(rank, width, generator=generator)
            delta = (b @ a) * 0.01
        return _layer([DenseDelta("test", MappingProxyType({module: delta}))])

    return make
