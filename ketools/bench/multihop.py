"""The multi-hop benchmark on the settings' model, or on a reader that knows the data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from ketools.core.errors import NotFound
from ketools.core.progress import Progress, quiet
from ketools.evaluation.mquake import MultihopData, load_multihop
from ketools.multihop import AGENTS, EngineWriter, MultihopResources, Writer, load_prompts
from ketools.multihop.metrics import MultihopSummary
from ketools.multihop.oracle import OracleReader
from ketools.multihop.runner import MultihopSetup
from ketools.retrieval import Encoder, load_encoder
from ketools.service.runtime import multihop_resources, open_engine
from ketools.service.settings import Settings

ORACLE = "oracle"


@dataclass(frozen=True)
class Options:
    """What to measure. `reader`: `model` or `oracle`; `record`: keeps transcripts and resumes from them."""

    data: str = "atlas-mquake"
    agents: Sequence[str] = AGENTS
    sizes: Sequence[str] = ("1", "100", "all")
    n: int | None = None
    reader: str = "model"
    prompts: Path | None = None
    detector: Path | None = None
    record: Path | None = None


def measure(settings: Settings, options: Options, progress: Progress = quiet) -> dict[str, dict[str, MultihopSummary]]:
    """Every agent at every size of memory.

    Raises `NotFound` for an unknown agent, data set or size, and what loading the model raises.
    """
    for name in options.agents:
        if name not in AGENTS:
            raise NotFound("multi-hop agent", name, AGENTS)
    data = load_multihop(options.data)
    encoder = encoder_of(settings)
    with _reader(settings, options, data, encoder) as (writer, resources, model):
        if options.detector:
            resources = replace(resources, detector_file=options.detector)
        bench = MultihopSetup(data, writer, resources.memory, _told(settings, resources, model), options.record)
        agents = {name: partial(resources.program, name) for name in options.agents}
        return bench.run(agents, options.sizes, options.n, progress)


def _told(settings: Settings, resources: MultihopResources, model: str) -> str:
    """What answers depend on besides agent and memory, as one word for the record."""
    detector = resources.detector_file.read_bytes() if resources.detector_file.is_file() else b""
    parts = (
        settings.encoder,
        settings.encoder_model,
        sorted(resources.prompts.texts.items()),
        sha256(detector).hexdigest(),
    )
    return f"{model}/{settings.engine}/{sha256(repr(parts).encode()).hexdigest()[:16]}"


@contextmanager
def _reader(
    settings: Settings, options: Options, data: MultihopData, encoder: Encoder
) -> Iterator[tuple[Writer, MultihopResources, str]]:
    prompts = options.prompts or settings.multihop_prompts
    if options.reader == ORACLE:
        yield OracleReader(data.cases), MultihopResources(load_prompts(prompts or "default"), encoder), ORACLE
        return
    engine, _ = open_engine(settings)
    try:
        resources = multihop_resources(engine.model_hash, encoder, prompts, settings.multihop_detector)
        yield EngineWriter(engine), resources, engine.model_hash
    finally:
        engine.close()


def encoder_of(settings: Settings) -> Encoder:
    """The encoder that the settings name."""
    key = settings.encoder_key.get_secret_value() if settings.encoder_key else None
    return load_encoder(settings.encoder, settings.encoder_model, key)
