"""From settings to what they describe: an engine, an encoder, a whole service."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ketools.atlas import weights_path
from ketools.atlas.world import world
from ketools.editing.consolidation import CONSOLIDATE, consolidation
from ketools.editing.editor import Editor, atlas_subjects
from ketools.editing.pipeline import EditPipeline
from ketools.editing.verification import Policy, Verifier
from ketools.engines.base import Engine
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.attach import Fingerprints, ModelFingerprint, model_fingerprint
from ketools.engines.vllm.engine import VLLMEngine
from ketools.engines.vllm.process import VLLMFlags, VLLMServer
from ketools.evaluation.assessment import COMPARE_METHODS, EVALUATE_SPACE, method_comparison, space_evaluation
from ketools.journal import ROOT, Journal
from ketools.knowledge.probing import Prober
from ketools.layers.store import ArtefactStore
from ketools.models.directory import directory_hash
from ketools.models.editable import EditableModel
from ketools.models.loading import load_editable
from ketools.models.outline import read_outline
from ketools.multihop import MultihopResources, load_prompts
from ketools.notes import Budget, NoteInjector, budget_of
from ketools.notes.memory import Memory
from ketools.retrieval import Encoder, load_encoder
from ketools.service.jobs import Jobs
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.spaces.layers import LayeredSpaces


def open_service(settings: Settings | None = None, model: EditableModel | None = None) -> EditService:
    """A service on the engine of the settings. `model`: share one that is loaded already (local engine).

    Raises ModelError, StorageError, EngineRefused or EngineUnavailable with what to do.
    """
    settings = settings or Settings()
    where, secret_path = settings.journal_place
    journal = Journal(where, secret_path=secret_path)
    try:
        journal.recover()
        engine, editor = open_engine(settings, model)
    except BaseException:
        journal.close()
        raise
    store = ArtefactStore(settings.artefacts or settings.home / "artefacts")
    spaces = LayeredSpaces(journal, store)
    engine.hold(spaces.layer(ROOT))
    encoder = open_encoder(settings)
    notes = NoteInjector(encoder=encoder, aliases=known_aliases(engine.model_hash), budget=note_budget(engine))
    verifier = Verifier(engine, Prober(known_subjects(engine.model_hash)), notes)
    policy = Policy(settings.min_success, settings.min_locality, settings.max_leak)
    pipeline = EditPipeline(engine, journal, store, spaces, editor, verifier, policy)
    handlers = {
        CONSOLIDATE: consolidation(pipeline),
        EVALUATE_SPACE: space_evaluation(pipeline),
        COMPARE_METHODS: method_comparison(pipeline),
    }
    jobs = Jobs(journal, handlers)
    resources = multihop_resources(engine.model_hash, encoder, settings.multihop_prompts, settings.multihop_detector)
    recall = Memory(spaces, encoder, settings.home / "memory.db")
    return EditService(settings, engine, journal, spaces, editor, verifier, notes, pipeline, jobs, resources, recall)


def open_encoder(settings: Settings) -> Encoder:
    """What embeds texts for retrieval, by the settings; nothing is loaded before it is used."""
    key = settings.encoder_key.get_secret_value() if settings.encoder_key else None
    return load_encoder(settings.encoder, settings.encoder_model, key)


def note_budget(engine: Engine) -> Budget:
    """How much of the served model's context notes may take, in its own tokens where the engine knows them."""
    served = getattr(engine, "editable", None) or getattr(engine, "outline", None)
    if served is None:
        return Budget()
    return budget_of(served.context_length, lambda text: len(served.tokenizer.encode(text, add_special_tokens=False)))


def multihop_resources(
    model_hash: str, encoder: Encoder, prompts: Path | None = None, detector: Path | None = None
) -> MultihopResources:
    """What the multi-hop agents need for a model; `prompts`, `detector`: in place of the packaged ones."""
    packaged = "atlas" if is_bundled(model_hash) else "default"
    texts = load_prompts(prompts or packaged, packaged)
    resources = MultihopResources(texts, encoder, known_aliases(model_hash), known_subjects(model_hash))
    return replace(resources, detector_file=detector) if detector else resources


def open_engine(settings: Settings, model: EditableModel | None = None) -> tuple[Engine, Editor]:
    """The serving engine and the editor of its model: one copy in memory for both, or vLLM and a copy on demand."""
    if settings.engine == "local":
        model = model or load_editable(settings.model)
    cache, profiles = settings.home / "cache", settings.home / "profiles"
    editor = Editor(model or settings.model, cache_dir=cache, profiles_dir=profiles)
    return (LocalEngine(model) if model else _vllm(settings, editor)), editor


def _vllm(settings: Settings, editor: Editor) -> Engine:
    """An engine on the replicas of the settings, or on a server that is started for it."""
    outline = read_outline(settings.model)
    store = AdapterStore(settings.adapters or settings.home / "adapters")

    def compute(kinds: frozenset[str]) -> ModelFingerprint:
        with editor.model() as em:
            return model_fingerprint(em, outline, kinds)

    fingerprints = Fingerprints(outline, compute, settings.home / "cache" / "fingerprints")
    urls = [url.strip() for url in settings.urls.split(",") if url.strip()]
    server = None if urls else _server(settings, store)
    return VLLMEngine(
        urls, outline, store, fingerprints, server=server, in_place=settings.in_place, wait_s=settings.wait_s
    )


def _server(settings: Settings, store: AdapterStore) -> VLLMServer:
    # Without a GPU compiling takes longer than it saves, and "auto" would halve the precision of an fp32 model.
    gpu = shutil.which("nvidia-smi") is not None
    extra = shlex.split(settings.vllm_flags) or ([] if gpu else ["--enforce-eager"])
    dtype = "auto" if gpu else "float32"
    flags = VLLMFlags(max_rank=settings.max_lora_rank, dtype=dtype, extra=tuple(extra))
    log_file, python = settings.home / "vllm.log", settings.vllm_python.absolute()
    return VLLMServer(settings.model.absolute(), store.root, log_file, python, flags=flags)


def is_bundled(model_hash: str) -> bool:
    """Whether a model is the bundled one, by content."""
    return weights_path().exists() and directory_hash(weights_path()) == model_hash


def known_subjects(model_hash: str) -> Mapping[str, Sequence[str]]:
    """Names to make probes of: the bundled world for the bundled model, countries and cities for any other."""
    subjects = atlas_subjects()
    return subjects if is_bundled(model_hash) else {domain: subjects[domain] for domain in ("country", "city")}


def known_aliases(model_hash: str) -> Mapping[str, Sequence[str]]:
    """Other names of subjects: those of the bundled world for the bundled model."""
    return {subject: (alias,) for subject, alias in world().aliases.items()} if is_bundled(model_hash) else {}
