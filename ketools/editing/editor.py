"""Computes artefacts on a view of the served weights, loaded on first use and released when idle."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ketools.core.errors import InvalidRequest
from ketools.core.progress import Progress, quiet
from ketools.core.requests import EditRequest
from ketools.layers.artefacts import Artefact
from ketools.layers.composition import EditLayer
from ketools.methods.base import EditContext, Method, MethodConfig
from ketools.methods.configuration import Configurations
from ketools.methods.prepared import States, state_name
from ketools.methods.registry import get_method
from ketools.models.background import Background
from ketools.models.bundled import default_background
from ketools.models.covariance import CovarianceStore
from ketools.models.editable import EditableModel
from ketools.models.identity import ModelIdentity
from ketools.models.loading import load_editable

POLL_S = 0.1


class Editor:
    """What computes edits. Thread-safe; one computation at a time.

    `model`: a directory, loaded on first use and released after `idle_s` seconds without a computation; or a
    model that an embedded engine shares, which is never released here. `background`: see `Background`;
    None stands for the bundled world where the model is the bundled one, else for the model's own text.
    `cache_dir` holds covariances and what methods prepared (None: memory only), `profiles_dir` calibrated
    configurations. `device`, `dtype`: where and in what precision a model is held that is loaded here; artefacts are
    fp32 whatever it is.
    """

    def __init__(
        self,
        model: str | Path | EditableModel,
        *,
        idle_s: float = 300.0,
        background: Background | None = None,
        cache_dir: Path | None = None,
        profiles_dir: Path | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._shared = model if isinstance(model, EditableModel) else None
        self._path = None if isinstance(model, EditableModel) else Path(model)
        self._loaded: EditableModel | None = None
        self._idle_s, self._device, self._dtype = idle_s, device, dtype
        self._background = background
        self._cache_dir = cache_dir
        self.configurations = Configurations(ModelIdentity(self._shared or Path(str(model))), profiles_dir)
        self._kept: tuple[CovarianceStore, States] | None = None
        self._working = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def model_hash(self) -> str:
        """Content hash of the model; reads the directory, without loading it. Raises `ModelError`."""
        return self.configurations.model.hash

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._shared is not None or self._loaded is not None

    def compute(
        self,
        method_name: str,
        requests: Sequence[EditRequest],
        layer: EditLayer,
        config: MethodConfig | Mapping[str, Any] | None = None,
        progress: Progress = quiet,
    ) -> list[Artefact]:
        """One artefact per request, each on top of the layer and of those before it.

        Raises `NotFound` for an unknown method, `InvalidRequest` for a kind it cannot do or a bad
        configuration, `Diverged`, `ModelError`, and what `progress` raises.
        """
        method = get_method(method_name)
        _require_kinds(method, requests)
        chosen = self.configurations.of(method, config)
        if not method.needs_model:
            return method.compute(requests, EditContext(None, layer, chosen, progress))
        with self.model(progress) as em:
            covariances, states = self._resources()
            state = states.get(method, em, chosen, progress)
            return method.compute(requests, EditContext(em, layer, chosen, progress, covariances, state))

    def prepared(self, method: Method, config: MethodConfig | Mapping[str, Any] | None = None) -> str | None:
        """The name of the state by which a method computes (see `ketools.methods.prepared`); None without one."""
        if method.prepare is None:
            return None
        return state_name(method, self.model_hash, self.configurations.of(method, config), self._data)

    @contextmanager
    def model(self, progress: Progress = quiet) -> Iterator[EditableModel]:
        """The model for exclusive use, loaded if need be; the idle clock starts when the block ends.

        Raises what `progress` raises while others use it.
        """
        while not self._working.acquire(timeout=POLL_S):
            progress(0, 1, "waiting for other computations")
        try:
            self._stop_clock()
            yield self._load()
        finally:
            self._start_clock()
            self._working.release()

    def release(self) -> None:
        """Drop the model from memory, after the computation in progress; a shared one stays its owner's."""
        with self._working:
            self._stop_clock()
            self._loaded = None

    close = release

    def _load(self) -> EditableModel:
        if self._shared is not None:
            return self._shared
        if self._loaded is None:
            assert self._path is not None
            self._loaded = load_editable(self._path, self._device, self._dtype)
        return self._loaded

    @cached_property
    def _data(self) -> Background:
        """What is known about the model besides its weights."""
        return self._background or default_background(self.model_hash)

    def _resources(self) -> tuple[CovarianceStore, States]:
        """Covariances and prepared states, made on the first computation; the caller holds the lock."""
        if self._kept is None:
            folder = self._cache_dir / "prepared" if self._cache_dir else None
            self._kept = CovarianceStore(self._data, self._cache_dir), States(self._data, folder)
        return self._kept

    def _start_clock(self) -> None:
        if self._shared is None:
            self._timer = threading.Timer(self._idle_s, self.release)
            self._timer.daemon = True
            self._timer.start()

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _require_kinds(method: Method, requests: Sequence[EditRequest]) -> None:
    wrong = [i for i, request in enumerate(requests) if request.kind not in method.kinds]
    if wrong:
        able = ", ".join(sorted(method.kinds))
        kind = requests[wrong[0]].kind
        raise InvalidRequest(f"{method.name} cannot do {str(kind)!r}; it can do {able}.", which=wrong)
