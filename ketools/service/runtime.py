"""The part of a service that needs the model: from settings to an engine, an editor and what stands on them.

Importing this imports torch and transformers; `ketools.service.starting` does so when a call needs it.
"""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ketools.core.errors import EngineRefused, ModelError, StorageError
from ketools.core.jobs import COMPARE_METHODS, CONSOLIDATE, EVALUATE_SPACE, REBASE, Handler
from ketools.core.progress import Progress
from ketools.core.results import Location, MultihopAnswer
from ketools.editing.consolidation import consolidation
from ketools.editing.editor import Editor
from ketools.editing.known_facts import KnownFacts
from ketools.editing.pipeline import EditPipeline
from ketools.editing.rebasing import rebasing
from ketools.editing.verification import Policy, Verifier
from ketools.engines.base import Engine
from ketools.engines.local import LocalEngine
from ketools.engines.vllm.adapters import AdapterStore
from ketools.engines.vllm.attach import Fingerprints, ModelFingerprint, model_fingerprint
from ketools.engines.vllm.engine import VLLMEngine
from ketools.engines.vllm.process import VLLMFlags, VLLMServer
from ketools.evaluation.assessment import method_comparison, space_evaluation
from ketools.evaluation.locating import locate
from ketools.journal import ROOT, Journal
from ketools.knowledge.bank import FactBank
from ketools.knowledge.manners import Manners
from ketools.knowledge.probing import Prober
from ketools.knowledge.scope import Scope
from ketools.layers.composition import EditLayer
from ketools.layers.store import ArtefactStore
from ketools.models.bundled import bundled_name, known_aliases, known_subjects
from ketools.models.contexts import form
from ketools.models.editable import EditableModel
from ketools.models.loading import DTYPES, load_editable
from ketools.models.outline import read_outline
from ketools.multihop import EditMemory, EngineWriter, Finished, MultihopResources, load_prompts, run
from ketools.multihop.prompts import packaged_sets
from ketools.notes import Budget, NoteInjector, budget_of
from ketools.notes.memory import Memory
from ketools.retrieval import Encoder, MiniLMEncoder, load_encoder
from ketools.service.in_place import note_server
from ketools.service.settings import Settings
from ketools.spaces.layers import LayeredSpaces

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """What serves and edits a model: everything of a service that needs the model, or takes long to import."""

    engine: Engine
    editor: Editor
    spaces: LayeredSpaces
    notes: NoteInjector
    pipeline: EditPipeline
    multihop: MultihopResources
    recall: Memory

    @property
    def verifier(self) -> Verifier:
        """What measures edits on the engine."""
        return self.pipeline.verifier

    @cached_property
    def handlers(self) -> Mapping[str, Handler]:
        """What does each kind of job."""
        return {
            CONSOLIDATE: consolidation(self.pipeline),
            EVALUATE_SPACE: space_evaluation(self.pipeline),
            COMPARE_METHODS: method_comparison(self.pipeline),
            REBASE: rebasing(self.pipeline),
        }

    def serve(self, space: str) -> EditLayer:
        """Have the engine ready for the space's head, which it returns."""
        layer = self.spaces.layer(space)
        if space == ROOT:
            self.engine.hold(layer)
        self.engine.apply_layer(layer)
        return layer

    def hold_root(self) -> None:
        """Let an engine that keeps the shared space in its weights follow what other processes wrote there.

        What cannot be read can be mended by an undo, so it keeps nobody from opening; asking in the space raises.
        """
        try:
            self.engine.hold(self.spaces.layer(ROOT))
        except StorageError as error:
            log.warning("The space %r cannot be served: %s", ROOT, error)

    def answer_multihop(
        self, agent: str, memory: EditMemory, question: str, layer: EditLayer, progress: Progress
    ) -> MultihopAnswer:
        """Answer a question of several hops; a chain that breaks off is a result."""
        program = self.multihop.program(agent, memory, question)
        for number, event in enumerate(run(program, EngineWriter(self.engine, layer)), start=1):
            progress(number, number + 1, event.line())
            if isinstance(event, Finished):
                return event.result
        raise AssertionError("a program ends with its result")

    def locate(self, prompt: str, subject: str, answer: str | None, samples: int, progress: Progress) -> Location:
        """Where the base model reads a fact, traced on the editor's copy of the served weights.

        Raises `EngineRefused` when this process cannot read those weights.
        """
        try:
            return locate(self.editor, form(prompt), subject, answer, samples=samples, progress=progress)
        except ModelError as error:
            raise EngineRefused(
                f"Locating looks inside the model, and its weights cannot be read here: {error} "
                "Start ketools with --model naming the directory of the served weights."
            ) from error

    def close(self) -> None:
        """Release what is open."""
        self.recall.close()
        self.engine.close()


def open_runtime(settings: Settings, journal: Journal, model: EditableModel | None = None) -> Runtime:
    """The runtime of the settings on a journal that stays the caller's. `model`: one that is loaded already.

    Raises ModelError, StorageError, EngineRefused or EngineUnavailable with what to do.
    """
    engine, editor = open_engine(settings, model)
    store = ArtefactStore(settings.artefact_place)
    spaces = LayeredSpaces(journal, store, editor.configurations.model, settings.engine)
    encoder = open_encoder(settings)
    aliases = known_aliases(engine.model_hash)
    budget = note_budget(engine)
    notes = NoteInjector(encoder=encoder, aliases=aliases, budget=budget, scope=Scope(), unseal=journal.unseal)
    prober = _prober(engine, encoder, settings.home / "cache")
    manners = None if bundled_name(engine.model_hash) is not None else Manners(MiniLMEncoder())
    verifier = Verifier(engine, prober, notes, manners)
    policy = Policy(settings.min_success, settings.min_locality, settings.max_leak)
    runtime = Runtime(
        engine=engine,
        editor=editor,
        spaces=spaces,
        notes=notes,
        pipeline=EditPipeline(engine, journal, store, spaces, editor, verifier, policy),
        multihop=multihop_resources(engine.model_hash, encoder, settings.multihop_prompts, settings.multihop_detector),
        recall=Memory(spaces, encoder, settings.home / "memory.db"),
    )
    runtime.hold_root()
    return runtime


def _prober(engine: Engine, encoder: Encoder, cache: Path) -> Prober:
    """What asks about edits: the bundled model knows its own world, any other model everyday facts."""
    subjects = known_subjects(engine.model_hash)
    if bundled_name(engine.model_hash) is not None:
        return Prober(subjects)
    return Prober(subjects, KnownFacts(FactBank.load(), engine, encoder, cache), forms=True)


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
    bundled = bundled_name(model_hash)
    packaged = bundled if bundled in packaged_sets() else "default"
    texts = load_prompts(prompts or packaged, packaged)
    resources = MultihopResources(texts, encoder, known_aliases(model_hash), known_subjects(model_hash))
    return replace(resources, detector_file=detector) if detector else resources


def open_engine(settings: Settings, model: EditableModel | None = None) -> tuple[Engine, Editor]:
    """The serving engine and the editor of its model: one copy in memory for both, or vLLM and a copy on demand."""
    if settings.engine == "local":
        model = model or load_editable(settings.model, settings.device, DTYPES[settings.dtype])
    cache, profiles = settings.home / "cache", settings.home / "profiles"
    editor = Editor(
        model or settings.model,
        cache_dir=cache,
        profiles_dir=profiles,
        device=settings.device,
        dtype=DTYPES[settings.dtype],
    )
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
    server = VLLMServer(settings.model.absolute(), store.root, log_file, python, flags=flags)
    if settings.in_place:
        note_server(settings.home, server.url)
    return server
