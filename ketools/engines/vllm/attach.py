"""What a server must prove before it is used: it serves the editor's model, and edits as ketools sees them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any

import torch

from ketools.core.errors import EngineRefused, InvalidRequest
from ketools.core.requests import Prompt
from ketools.engines.base import Score
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.client import ReplicaClient, UnknownName
from ketools.engines.vllm.compiling import Compiled
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.low_rank import LowRankDelta
from ketools.layers.store import content_hash
from ketools.models.editable import EditableModel
from ketools.models.outline import Outline
from ketools.models.structure import get_module, weight_of

Scorer = Callable[[Sequence[Prompt], Sequence[str], EditLayer], list[Score]]
"""`Engine.score` of an engine, or of one server."""

Probe = Callable[[str], Sequence[float]]

RANKS = (512, 320, 256, 128, 64, 32, 16, 8, 1)
"""The values that vLLM accepts for --max-lora-rank."""
TOLERANCE = 0.05
"""Mean absolute difference of log probabilities (nats) up to which two servers run the same model: half
precision gives 0.01 to 0.03, another model several tenths."""
STRENGTH = 0.2
"""Frobenius norm of the test edit's change of a module, as a share of the module's weight."""
UNHEARD_OF = f"ke-{'0' * 64}"
LOUD = 5.0
"""Frobenius norm of a change that cannot be overheard."""
PAIRS = (
    ("The capital of France", "is Paris, and the capital of Italy is Rome."),
    ("What is the official language of Brazil?", "Portuguese"),
    ("1 2 3 4", "5 6 7 8 9 10"),
    ("user: Hello, who are you?\nassistant:", "I am an assistant."),
    ("def add(a, b):", "return a + b"),
)


@dataclass(frozen=True)
class ModelFingerprint:
    """How the editor's model scores the pairs, untouched (`base`) and under the test edit (`edited`).

    `norms`: per module of the test edit, the Frobenius norm of its change.
    """

    base: tuple[float, ...]
    edited: tuple[float, ...]
    norms: Mapping[str, float]


@dataclass(frozen=True)
class Limits:
    """What a server can take: the rank of an adapter, the kinds of modules, the tokens of a request.

    `plugin`: ketools' plug-in runs in it. Without it a CPU build of vLLM may give a request to the base model that
    shares a batch with adapters somebody's edit, so the base model is then served through an adapter of zeros.
    """

    served_name: str
    max_rank: int
    targets: frozenset[str]
    context_length: int
    plugin: bool


def modules_of(outline: Outline, kinds: Iterable[str]) -> list[str]:
    """The modules of the test edit: those of the given kinds in the first and in the last block."""
    ends = (f"{outline.structure.blocks[0].name}.", f"{outline.structure.blocks[-1].name}.")
    wanted = frozenset(kinds)
    return [m for m in outline.sizes if m.startswith(ends) and m.rpartition(".")[2] in wanted]


def trial_layer(outline: Outline, norms: Mapping[str, float]) -> EditLayer:
    """A rank-one change of each module, always the same one for a model."""
    generator = torch.Generator().manual_seed(0)
    factors = {}
    for module, norm in sorted(norms.items()):
        width, out = outline.sizes[module]
        a, b = torch.randn(1, width, generator=generator), torch.randn(out, 1, generator=generator)
        factors[module] = (a / a.norm(), b / b.norm() * norm)
    artefact = LowRankDelta("attach", MappingProxyType(factors))
    return BASE.with_edits(LiveEdit("attach", content_hash(artefact), artefact))


def model_fingerprint(em: EditableModel, outline: Outline, kinds: Iterable[str]) -> ModelFingerprint:
    """Score the pairs on the editor's copy of the model."""
    norms = {m: STRENGTH * float(weight_of(get_module(em.model, m)).norm()) for m in modules_of(outline, kinds)}
    score = LocalEngine(em).score
    return ModelFingerprint(pair_scores(score, BASE), pair_scores(score, trial_layer(outline, norms)), norms)


def pair_scores(score: Scorer, layer: EditLayer) -> tuple[float, ...]:
    """The log probability of every token of every continuation of the pairs."""
    prompts, continuations = zip(*PAIRS, strict=True)
    return tuple(value for one in score(prompts, continuations, layer) for value in one.logprobs)


class Fingerprints:
    """Model fingerprints, computed on the editor's model once and kept in a folder by the model's hash."""

    def __init__(self, outline: Outline, compute: Callable[[frozenset[str]], ModelFingerprint], folder: Path) -> None:
        self._outline, self._compute, self._folder = outline, compute, folder

    def get(self, kinds: frozenset[str]) -> ModelFingerprint:
        """The print for these kinds of modules."""
        path = self._folder / f"{self._outline.model_hash}-{'-'.join(sorted(kinds)) or 'none'}.json"
        try:
            kept = json.loads(path.read_text())
            return ModelFingerprint(tuple(kept["base"]), tuple(kept["edited"]), kept["norms"])
        except (OSError, ValueError, KeyError):
            made = self._compute(kinds)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"base": made.base, "edited": made.edited, "norms": dict(made.norms)}))
        return made


def find_limits(client: ReplicaClient, outline: Outline, store: AdapterStore, min_rank: int, probe: Probe) -> Limits:
    """Ask a server what it can take: up to which rank it loads adapters, and of which modules they do anything.

    `probe(model)`: scores of a few texts under a model's name. vLLM loads an adapter of modules that it does not
    wrap, without a word, and ignores it. Raises `EngineRefused` with the flag to add when the server cannot take
    edits at all, or none of `min_rank`.
    """
    base = _base_model(client)
    _require_refusal(client)
    first = outline.structure.blocks[0].down_proj
    max_rank = next((r for r in RANKS if not _objection(client, outline, store, [first], r)), 0)
    if max_rank == 0:
        raise EngineRefused(_advice(client.url, _objection(client, outline, store, [first], 1), first))
    if max_rank < min_rank:
        raise EngineRefused(
            f"vLLM at {client.url} takes adapters up to rank {max_rank} only; restart it with "
            f"--max-lora-rank {next(r for r in reversed(RANKS) if r >= min_rank)}."
        )
    untouched = probe(str(base["id"]))
    kinds = {kind for kind in outline.kinds if _matters(client, outline, store, kind, untouched, probe)}
    if first.rpartition(".")[2] not in kinds:
        raise EngineRefused(_advice(client.url, "its adapters change nothing", first))
    length = int(base.get("max_model_len") or outline.context_length)
    length = min(length, outline.context_length)
    return Limits(str(base["id"]), max_rank, frozenset(kinds), length, client.has_plugin())


def check_identity(score: Scorer, outline: Outline, limits: Limits, fingerprints: Fingerprints, url: str) -> None:
    """Raise `EngineRefused` unless the server scores as the editor's model does, untouched and edited."""
    expected = fingerprints.get(limits.targets)
    for layer, want, what in (
        (BASE, expected.base, "serves another model than the editor's copy"),
        (trial_layer(outline, expected.norms), expected.edited, "applies an adapter otherwise than ketools does"),
    ):
        got = pair_scores(score, layer)
        apart = fmean(abs(a - b) for a, b in zip(got, want, strict=True)) if len(got) == len(want) else float("inf")
        if not apart <= TOLERANCE:
            raise EngineRefused(
                f"vLLM at {url} {what}: log probabilities of {len(want)} probe tokens differ by {apart:.3f} on "
                f"average (at most {TOLERANCE} is the same model). Start vLLM on the directory given as --model."
            )


def zeros(outline: Outline, modules: Iterable[str], rank: int = 1) -> Compiled:
    """An adapter of these modules that changes nothing."""
    sizes = {module: outline.sizes[module] for module in modules}
    return Compiled({m: (torch.zeros(rank, width), torch.zeros(out, rank)) for m, (width, out) in sizes.items()}, 0.0)


def _base_model(client: ReplicaClient) -> dict[str, Any]:
    for model in client.models():
        if not model.get("parent"):
            return model
    raise EngineRefused(f"vLLM at {client.url} lists no base model under /v1/models.")


def _require_refusal(client: ReplicaClient) -> None:
    """Raise `EngineRefused` when a name that nobody loaded is answered: it would be the wrong model's answer."""
    try:
        client.completions({"model": UNHEARD_OF, "prompt": [0], "max_tokens": 1})
    except UnknownName:
        return
    raise EngineRefused(
        f"vLLM at {client.url} answers for adapters that it does not have. Restart it without "
        "VLLM_SKIP_MODEL_NAME_VALIDATION."
    )


def _objection(client: ReplicaClient, outline: Outline, store: AdapterStore, modules: list[str], rank: int) -> str:
    """Why the server does not take an adapter of zeros on these modules, or an empty string."""
    adapter = store.put(zeros(outline, modules, rank), outline.model_hash)
    try:
        with store.lease(adapter.name) as folder:
            client.load(adapter.name, folder)
        client.unload(adapter.name)
    except UnknownName as error:
        return f"it does not see the adapter store's directory {store.root} ({error})"
    except (EngineRefused, InvalidRequest) as error:
        return str(error)
    return ""


def _matters(
    client: ReplicaClient, outline: Outline, store: AdapterStore, kind: str, untouched: Sequence[float], probe: Probe
) -> bool:
    """Whether an adapter of this kind of module changes what the server computes."""
    layer = trial_layer(outline, dict.fromkeys(modules_of(outline, [kind]), LOUD))
    factors = {name: delta.factors() for name, delta in layer.deltas.items()}
    adapter = store.put(Compiled(factors, 0.0), outline.model_hash)
    with store.lease(adapter.name) as folder:
        client.load(adapter.name, folder)
    changed = list(probe(adapter.name)) != list(untouched)
    client.unload(adapter.name)
    return changed


def _advice(url: str, objection: str, module: str) -> str:
    kind = module.rpartition(".")[2]
    advice = f"Restart vLLM with --enable-lora --max-lora-rank 16 --lora-target-modules {kind} ..."
    if "no route" in objection:
        advice = "Restart vLLM with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."
    elif "does not see" in objection:
        advice = "Mount the store at the same path on both (--adapters)."
    return f"vLLM at {url} takes no edits: {objection}. {advice}"
