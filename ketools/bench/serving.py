"""`ketools bench swap` and `ketools bench spaces`: how fast, and how rightly, vLLM serves edits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, cast

import torch

from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest, chat_prompt
from ketools.editing.editor import Editor
from ketools.engines.base import Score
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.compiling import compile_deltas
from ketools.engines.vllm.engine import VLLMEngine
from ketools.knowledge.matching import says
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.dense import DenseDelta
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.store import content_hash
from ketools.methods.registry import get_method
from ketools.models.loading import load_editable
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

METHOD = "rome"
"""The method under whose name prepared artefacts run; what it would compute plays no part."""
STRENGTH = 2.0
"""Scale of a variant's two factors; so strong that nearly every variant answers otherwise."""
MILD = 0.4
VARIANTS = 12
PREFIX = "This long beginning is shared by every request and stays in the prefix cache of the server. " * 6
PROMPT = PREFIX + "The capital of France is"
ANSWER_TOKENS = 6
LIKELY = -10.0


class Prepared(Editor):
    """An editor that hands out an artefact that was made before, so that only the pipeline is timed."""

    def __init__(self, model: Path, artefact: Artefact) -> None:
        super().__init__(model)
        self._artefact = artefact

    def compute(self, *_: Any, **__: Any) -> list[Artefact]:
        """The artefact, whatever is asked."""
        return [self._artefact]


def bench_swap(settings: Settings, cycles: int = 500, n: int = 40, progress: Progress = quiet) -> dict[str, Any]:
    """From an accepted parametric edit to the first token under it, against a bare adapter load; and staleness.

    `ratio`: median milliseconds of the whole pipeline (artefact stored, journalled, compiled, loaded, committed, first
    token asked for) over those of loading a ready adapter and asking for the first token. `stale`: answers, over
    `cycles` rounds of edit, undo and redo with a long shared prefix and traffic of other spaces, that are not
    those of transformers under the version that was current.
    """
    with TemporaryDirectory(prefix="ketools-bench-") as home, closing(bench_service(settings, Path(home))) as service:
        engine = _vllm(service)
        layers = [_variant(engine, seed) for seed in range(VARIANTS)]
        expected = _expected(settings, layers)
        found = _swap_times(service, engine, n, progress)
        return found | _staleness(service, engine, layers, expected, cycles, progress)


def bench_spaces(settings: Settings, spaces: int = 1000, facts: int = 40, progress: Progress = quiet) -> dict[str, Any]:
    """Many spaces with edits of their own on one replica: right answers, bytes, and how latency grows.

    The edits are real: FT-M on `facts` facts of the bundled world whose target it reaches within the rank limit. Each
    space adds a small change of its own, so that every space has another adapter. `wrong`: answers to an edit's
    prompt that are not its target.
    """
    with TemporaryDirectory(prefix="ketools-bench-") as home, closing(bench_service(settings, Path(home))) as service:
        engine = _vllm(service)
        made = _facts(service, facts, progress)
        rows: list[tuple[str, EditRequest]] = []
        latency: dict[str, float] = {}
        start_bytes = _resident(engine)
        for i in range(spaces):
            progress(i, spaces, "spaces")
            request, artefact = made[i % len(made)]
            space = f"user/tenant-{i}"
            _commit(service, space, request, _own(engine, artefact, i))
            rows.append((space, request))
            if i + 1 in (1, 10, 100, 1000, spaces):
                latency[str(i + 1)] = _latency(service, rows)
        wrong = _wrong(service, rows, progress)
        sizes = [engine.store.size(name) for name in engine.store.names()]
        return {
            "spaces": spaces,
            "wrong": len(wrong),
            "n": len(rows),
            "p50_ms_by_spaces": latency,
            "bytes_on_disk_per_edit": round(sum(sizes) / len(sizes)),
            "bytes_in_ram_per_edit": round(((_resident(engine) or 0) - start_bytes) / spaces) if start_bytes else None,
            "metric": "greedy exact match; milliseconds of one 8-token answer, one request at a time",
        }


def bench_exactness(settings: Settings, cases: int = 60, edits: int = 8, progress: Progress = quiet) -> dict[str, Any]:
    """The largest difference of a log probability, served by vLLM against transformers in float64.

    Per kind of change: untouched, one low-rank edit of each kind of module, a composed space of `edits` edits, a
    dense change whose rank fits. Teacher-forced, over the prompts and answers of the bundled benchmark. `likely`: the
    same where the log probability is above -10; `transformers_fp32`: what fp32 costs transformers itself, untouched.
    """
    with TemporaryDirectory(prefix="ketools-bench-") as home, closing(bench_service(settings, Path(home))) as service:
        engine = _vllm(service)
        em = load_editable(settings.model)
        em.model.double()
        errors: dict[str, float] = {}
        likely: dict[str, float] = {}
        tokens, texts = 0, _texts(cases)
        with closing(LocalEngine(em)) as reference, closing(LocalEngine(load_editable(settings.model))) as single:
            own = max(_differences(single.score(*texts), reference.score(*texts)))[0]
            kinds = _kinds_of_change(engine, edits)
            for i, (kind, layer) in enumerate(kinds.items()):
                progress(i, len(kinds), kind)
                found = _differences(engine.score(*texts, layer), reference.score(*texts, layer))
                errors[kind] = max(found)[0]
                likely[kind] = max(error for error, logprob in found if logprob > LIKELY)
                tokens += len(found)
    return {
        "max_error": max(errors.values()),
        "max_error_likely": max(likely.values()),
        "by_kind": errors,
        "likely": likely,
        "transformers_fp32": own,
        "n": tokens,
        "metric": "absolute difference of a log probability",
    }


def _differences(scores: Sequence[Score], wanted: Sequence[Score]) -> list[tuple[float, float]]:
    """Per token the absolute difference, and the log probability that it should have."""
    pairs = zip(scores, wanted, strict=True)
    return [(abs(a - b), b) for s, w in pairs for a, b in zip(s.logprobs, w.logprobs, strict=True)]


def _texts(cases: int) -> tuple[list[str], list[str]]:
    """Prompts, and what is said after them: the answer before an edit, then the one after it."""
    from ketools.evaluation import load

    requests = [case.request for case in load("atlas-knowedit").cases if case.request.target_old][:cases]
    prompts = [r.prompt for r in requests for _ in (0, 1)]
    return prompts, [text for r in requests for text in (str(r.target_old), r.target_new)]


def _kinds_of_change(engine: VLLMEngine, edits: int) -> dict[str, EditLayer]:
    modules = [m for m in engine.outline.sizes if m.startswith(f"{engine.outline.structure.blocks[1].name}.")]
    kinds = {"untouched": BASE}
    kinds |= {module.rpartition(".")[2]: _variant(engine, i, [module], MILD) for i, module in enumerate(modules)}
    kinds["composed"] = BASE.with_edits(*(_variant(engine, 100 + i, (), MILD).edits[0] for i in range(edits)))
    one = _variant(engine, 200, (), MILD)
    dense = DenseDelta("bench", {name: delta.matrix() for name, delta in one.deltas.items()})
    kinds["dense of rank 1"] = BASE.with_edits(LiveEdit("dense", content_hash(dense), dense))
    return kinds


# --- the parts of swap ---


def _swap_times(service: EditService, engine: VLLMEngine, n: int, progress: Progress) -> dict[str, Any]:
    """Interleaved, so that whatever else the machine does falls on both sides."""
    pipeline, bare = [], []
    for i in range(n + 2):
        progress(i, n + 2, "swap")
        artefact = _variant(engine, 1000 + i).edits[0].artefact
        begin = time.perf_counter()
        edit_id = _commit(service, "user/swap", _request(), artefact)
        _first_token(engine, engine.prepare(service.runtime.spaces.layer("user/swap")).model)
        pipeline.append(time.perf_counter() - begin)
        service.edits.undo(OPERATOR, edit_id)
        bare.append(_bare(engine, _variant(engine, 5000 + i)))
    road_ms, bare_ms = (1e3 * median(times[2:]) for times in (pipeline, bare))
    return {
        "edit_to_first_token_ms": round(road_ms, 3),
        "load_to_first_token_ms": round(bare_ms, 3),
        "ratio": round(road_ms / bare_ms, 3),
        "n": n,
        "metric": "median milliseconds to the first token under the new version",
    }


def _bare(engine: VLLMEngine, layer: EditLayer) -> float:
    """Seconds to load an adapter that lies ready, and to get its first token."""
    replica = engine.replicas.pick("")
    assert replica.limits is not None
    compiled = compile_deltas(layer.deltas, engine.outline.sizes, replica.limits.max_rank, replica.limits.targets)
    adapter = engine.store.put(compiled, engine.model_hash)
    with engine.store.lease(adapter.name) as folder:
        begin = time.perf_counter()
        replica.client.load(adapter.name, folder)
        _first_token(engine, adapter.name)
        spent = time.perf_counter() - begin
    replica.client.unload(adapter.name)
    return spent


def _first_token(engine: VLLMEngine, model: str) -> None:
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 1, "temperature": 0}
    engine.replicas.pick("").client.completions(body)


@dataclass
class Tally:
    """Answers counted by several threads."""

    asked: int = 0
    stale: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, right: bool) -> None:
        """One answer."""
        with self.lock:
            self.asked += 1
            self.stale += not right


def _staleness(
    service: EditService,
    engine: VLLMEngine,
    layers: Sequence[EditLayer],
    expected: Sequence[str],
    cycles: int,
    progress: Progress,
) -> dict[str, Any]:
    """Edit, ask, undo, ask, edit the same again, ask; beside it other spaces ask all the time."""
    tally, others, done = Tally(), Tally(), threading.Event()
    rng, edit_id = random.Random(0), ""

    def traffic(seed: int) -> None:
        own = random.Random(seed)
        while not done.is_set():
            i = own.randrange(len(layers))
            others.count(_ask(engine, layers[i]) == expected[i + 1])

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(traffic, seed) for seed in range(3)]
        try:
            for cycle in range(cycles):
                progress(cycle, cycles, "cycles")
                i = rng.randrange(len(layers))
                for edited in (True, False, True, False):
                    if edited:
                        edit_id = _commit(service, "user/cycle", _request(), layers[i].edits[0].artefact)
                    else:
                        service.edits.undo(OPERATOR, edit_id)
                    want = expected[i + 1] if edited else expected[0]
                    tally.count(_ask(engine, service.runtime.spaces.layer("user/cycle")) == want)
        finally:
            done.set()
        for thread in threads:
            thread.result()
    return {
        "stale": tally.stale + others.stale,
        "cycles": cycles,
        "answers": tally.asked,
        "answers_of_other_spaces": others.asked,
        "distinct_answers": len(set(expected)),
    }


def _ask(engine: VLLMEngine, layer: EditLayer) -> str:
    return engine.generate([PROMPT], layer, max_new_tokens=ANSWER_TOKENS)[0]


def _expected(settings: Settings, layers: Sequence[EditLayer]) -> list[str]:
    """What transformers answers, untouched and under each layer."""
    with closing(LocalEngine(load_editable(settings.model))) as local:
        return [local.generate([PROMPT], layer, max_new_tokens=ANSWER_TOKENS)[0] for layer in (BASE, *layers)]


# --- the parts of spaces ---


def _facts(service: EditService, count: int, progress: Progress) -> list[tuple[EditRequest, Artefact]]:
    """Real edits, made by FT-M: facts of which the edit reaches its target."""
    from ketools.evaluation import load

    requests = [case.request for case in load("atlas-knowedit").cases if case.request.kind == "modify"]
    made: list[tuple[EditRequest, Artefact]] = []
    for request in requests:
        if len(made) == count:
            break
        progress(len(made), count, "edits")
        (artefact,) = service.runtime.editor.compute("ft-m", [request], BASE)
        cut = _own(_vllm(service), artefact, 0)
        layer = BASE.with_edits(LiveEdit("trial", content_hash(cut), cut))
        if _says_target(service, request, layer):
            made.append((request, artefact))
    return made


def _says_target(service: EditService, request: EditRequest, layer: EditLayer) -> bool:
    """Whether the greedy answer to the edit's own prompt is its target."""
    prompt = chat_prompt(request.prompt) if request.is_question else request.prompt
    return says(service.runtime.engine.generate([prompt], layer, max_new_tokens=16)[0], request.target_new)


def _own(engine: VLLMEngine, artefact: Artefact, i: int) -> Artefact:
    """The artefact as factors, with a change too small to matter that no other space has."""
    layer = BASE.with_edits(LiveEdit("trial", content_hash(artefact), artefact))
    limits = engine.replicas.pick("").limits
    assert limits is not None
    compiled = compile_deltas(layer.deltas, engine.outline.sizes, min(limits.max_rank, 15), limits.targets)
    generator = torch.Generator().manual_seed(i)
    factors = {
        name: (
            torch.cat([a, torch.randn(1, a.shape[1], generator=generator) * 1e-3]),
            torch.cat([b, torch.randn(b.shape[0], 1, generator=generator) * 1e-3], dim=1),
        )
        for name, (a, b) in compiled.factors.items()
    }
    return LowRankDelta("bench", MappingProxyType(factors))


def _latency(service: EditService, rows: Sequence[tuple[str, EditRequest]]) -> float:
    """Median milliseconds of an answer, over spaces drawn from all there are."""
    rng, times = random.Random(1), []
    for _ in range(40):
        space, request = rng.choice(rows)
        begin = time.perf_counter()
        service.runtime.engine.generate([request.prompt], service.runtime.spaces.layer(space), max_new_tokens=8)
        times.append(1e3 * (time.perf_counter() - begin))
    return round(quantiles(times, n=2)[0], 3)


def _wrong(service: EditService, rows: Sequence[tuple[str, EditRequest]], progress: Progress) -> list[str]:
    def answer(row: tuple[str, EditRequest]) -> str | None:
        space, request = row
        return None if _says_target(service, request, service.runtime.spaces.layer(space)) else space

    wrong = []
    with ThreadPoolExecutor(8) as pool:
        for i, space in enumerate(pool.map(answer, rows)):
            progress(i, len(rows), "asking")
            wrong += [space] if space else []
    return wrong


# --- shared ---


def bench_service(settings: Settings, home: Path) -> EditService:
    """A service on vLLM (the replicas of the settings, or one that is started) with a journal of its own."""
    adapters = settings.adapters or (settings.home / "adapters" if settings.urls else None)
    changed = {"engine": "vllm", "home": home, "adapters": adapters, "journal": None, "consolidate": False}
    return open_service(settings.model_copy(update=changed))


def _vllm(service: EditService) -> VLLMEngine:
    return cast(VLLMEngine, service.runtime.engine)


def _variant(engine: VLLMEngine, seed: int, modules: Sequence[str] = (), strength: float = STRENGTH) -> EditLayer:
    """A rank-one change of a module (by default of the last down projection but one)."""
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for module in modules or [engine.outline.structure.blocks[-2].down_proj]:
        width, out = engine.outline.sizes[module]
        a, b = torch.randn(1, width, generator=generator), torch.randn(out, 1, generator=generator)
        factors[module] = (a * strength, b * strength)
    artefact = LowRankDelta("bench", MappingProxyType(factors))
    return BASE.with_edits(LiveEdit(f"variant-{seed}", content_hash(artefact), artefact))


def _request() -> EditRequest:
    return EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")


def _commit(service: EditService, space: str, request: EditRequest, artefact: Artefact) -> str:
    """Take a prepared artefact down the pipeline, unverified; returns the edit's id."""
    service.spaces.ensure(OPERATOR, space)
    prepared = Prepared(service.settings.model, artefact)
    pipeline = replace(service.runtime.pipeline, verify=False, editor=prepared)
    outcome = pipeline.run(OPERATOR.by(), space, [request], get_method(METHOD), progress=quiet)
    live = outcome.candidates[0].live
    if outcome.version is None or live is None:
        raise InvalidRequest(
            f"The edit was not committed: {outcome.candidates[0].error or outcome.candidates[0].objection}"
        )
    return live.edit_id


def _resident(engine: VLLMEngine) -> int | None:
    """Bytes of memory of the server that was started here, with all its processes."""
    server = engine.server
    if server is None or server.pid is None:
        return None
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) == server.pid:  # the process group is the server's own
                total += int((status.parent / "statm").read_text().split()[1]) * 4096
        except (OSError, ValueError):
            continue
    return total
