"""Which configuration each method has for one model. Importing this imports neither torch nor transformers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ketools.core.errors import InvalidRequest
from ketools.methods.base import Method, MethodConfig
from ketools.methods.papers import Shape, paper_config
from ketools.methods.profile import Profile, default_directory, load_profile, parse_config, store_profile
from ketools.models.identity import ModelIdentity


class Configurations:
    """Calibrated, published and default configurations for a model. `directory`: where calibrated ones are stored."""

    def __init__(self, model: ModelIdentity, directory: Path | None = None) -> None:
        self.model = model
        self.directory = directory or default_directory()

    @property
    def profile(self) -> Profile | None:
        """The calibrated configurations of this model: stored ones, else shipped ones."""
        return load_profile(self.model.hash, self.directory)

    def remember(self, holds: Mapping[str, int]) -> None:
        """Store with the calibrated methods among these how many edits they hold. Raises `StorageError`."""
        known = self.profile
        if known is None:
            return
        methods = {
            name: profile.model_copy(update={"holds": holds[name]})
            for name, profile in known.methods.items()
            if name in holds
        }
        store_profile(known.model_copy(update={"methods": methods}), self.directory)

    def of(self, method: Method, config: MethodConfig | Mapping[str, Any] | None = None) -> MethodConfig:
        """The explicit configuration, else the profile's, the papers' for this shape, the defaults (scaled by depth).

        Raises `InvalidRequest` when the explicit one is out of bounds or of another method.
        """
        if isinstance(config, MethodConfig):
            if not isinstance(config, method.config):
                wanted, got = method.config.__name__, type(config).__name__
                raise InvalidRequest(f"{method.name} takes a {wanted}, not a {got}.")
            return config
        if config is not None:
            return parse_config(method, dict(config))
        return self.calibrated(method) or self.published(method) or method.config()

    def calibrated(self, method: Method) -> MethodConfig | None:
        """What calibration found for this model."""
        profile = self.profile if method.needs_model else None
        return profile.config_for(method) if profile else None

    def published(self, method: Method) -> MethodConfig | None:
        """What the papers used for models of this shape; not measured here."""
        return paper_config(method, self._shape) if method.needs_model else None

    @cached_property
    def _shape(self) -> Shape:
        return Shape.of(self.model.model)
