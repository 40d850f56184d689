"""Opens a service: the journal at once, the model when a call needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from ketools.core.errors import InvalidRequest
from ketools.core.jobs import JOB_KINDS, Handler
from ketools.core.progress import Progress
from ketools.journal import Journal
from ketools.journal.audit import Listener, nobody
from ketools.layers.files import ArtefactFiles
from ketools.methods.configuration import Configurations
from ketools.models.identity import ModelIdentity
from ketools.service.backend import Backend
from ketools.service.policy import FILE as POLICY_FILE
from ketools.service.policy import load_policy
from ketools.service.runner import JobRunner
from ketools.service.service import EditService
from ketools.service.settings import Settings
from ketools.service.starting import RuntimeStarter
from ketools.spaces.spaces import Spaces

if TYPE_CHECKING:
    from ketools.models.editable import EditableModel
    from ketools.service.runtime import Runtime


def open_service(settings: Settings | None = None, model: EditableModel | None = None) -> EditService:
    """A service on the journal of the settings. `model`: share one that is loaded already (local engine).

    The engine is opened by the first call that needs it, or by `EditService.start`; that call raises `ModelError`,
    `EngineRefused` or `EngineUnavailable` with what to do. Raises `StorageError`, and `InvalidRequest` for an edit
    policy that cannot be used.
    """
    settings = settings or Settings()
    policy = load_policy(settings.edit_policy or settings.home / POLICY_FILE)
    where, secret_path = settings.journal_place
    listener, end_webhook = _webhook(settings)
    journal = Journal(where, secret_path=secret_path, artefacts=settings.artefact_place, listener=listener)
    try:
        journal.recover()
        identity = ModelIdentity(model or settings.model, settings.home / "cache" / "model_hashes.json")
        spaces = Spaces(journal, ArtefactFiles(settings.artefact_place), identity, settings.engine)
    except BaseException:
        journal.close()
        raise
    starter = RuntimeStarter(partial(_open_runtime, settings, journal, model))
    backend = Backend(
        settings=settings,
        journal=journal,
        spaces=spaces,
        configurations=Configurations(identity, settings.home / "profiles"),
        runner=JobRunner(journal, _handlers(starter), (partial(_hold_the_head, starter),)),
        starter=starter,
        policy=policy,
        end_webhook=end_webhook,
    )
    return EditService(backend)


def _webhook(settings: Settings) -> tuple[Listener, Callable[[], None]]:
    """What is told of the journal's events, and what ends it. httpx is imported only where there is a webhook."""
    if settings.webhook_url is None:
        return nobody, lambda: None
    if settings.webhook_secret is None:
        raise InvalidRequest("A webhook is signed: set KETOOLS_WEBHOOK_SECRET too, e.g. to `openssl rand -hex 32`.")
    secret = settings.webhook_secret.get_secret_value()
    made = import_module("ketools.service.webhook").Webhook(settings.webhook_url, secret)
    return made, made.close


def _open_runtime(settings: Settings, journal: Journal, model: EditableModel | None) -> Runtime:
    """Imported only now: torch and transformers take seconds."""
    module = import_module("ketools.service.runtime")
    return cast("Runtime", module.open_runtime(settings, journal, model))


def _handlers(starter: RuntimeStarter) -> dict[str, Handler]:
    """What does each kind of job, opening the runtime first."""

    def handler(kind: str) -> Handler:
        def run(space: str, arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
            return starter.get(progress).handlers[kind](space, arguments, progress)

        return run

    return {kind: handler(kind) for kind in JOB_KINDS}


def _hold_the_head(starter: RuntimeStarter) -> None:
    """Follow what other processes wrote to the shared space, where the engine keeps it in the weights themselves."""
    runtime = starter.opened
    if runtime is not None:
        runtime.hold_root()
