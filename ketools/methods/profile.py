"""Calibrated configurations of one model, as JSON: shipped with the package or stored by calibration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ketools.core.errors import InvalidRequest, StorageError
from ketools.methods.base import Method, MethodConfig


def default_directory() -> Path:
    """Where profiles are stored unless told otherwise."""
    return Path.home() / ".cache" / "ketools" / "profiles"


class Scores(BaseModel):
    """What a configuration reached on calibration cases; shares in [0, 1] of greedy answers.

    `success`: the edit's own prompt and its question in chat form; `rephrase`: phrasings withheld from the
    computation; `locality`: answers that stayed what they were; `ms`: milliseconds per edit; `n`: edits.
    """

    model_config = ConfigDict(frozen=True)

    success: float = Field(ge=0, le=1)
    rephrase: float = Field(ge=0, le=1)
    locality: float = Field(ge=0, le=1)
    ms: float = Field(ge=0)
    n: int = Field(ge=0)

    @property
    def overall(self) -> float:
        """The harmonic mean of success, rephrase and locality."""
        parts = (self.success, self.rephrase, self.locality)
        return 3 / sum(1 / part for part in parts) if all(parts) else 0.0


class MethodProfile(BaseModel):
    """The configuration chosen for one method and what it reached.

    `holds`: how many edits one after another it holds (`ketools bench lifelong`); None when that was not measured.
    """

    model_config = ConfigDict(frozen=True)

    config: dict[str, Any]
    scores: Scores
    holds: int | None = Field(default=None, ge=0)


class Profile(BaseModel):
    """The calibrated methods of one model, which is identified by its content hash."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_hash: str
    model_name: str
    methods: dict[str, MethodProfile]

    def config_for(self, method: Method) -> MethodConfig | None:
        """The stored configuration of a method, None when it was not calibrated.

        Raises `InvalidRequest` when the stored one does not fit this version of the method.
        """
        if method.name not in self.methods:
            return None
        return parse_config(method, self.methods[method.name].config)

    def steadiest(self, methods: Iterable[Method]) -> str | None:
        """Of these methods the one that holds most edits one after another, of equals the one that scored best.

        Less than a hundredth is no difference (a few dozen edits are scored); then the faster is taken. None when of
        none of them it was measured how many edits it holds.
        """
        found = {method.name: self.methods[method.name] for method in methods if method.name in self.methods}
        known = {name: profile for name, profile in found.items() if profile.holds}

        def worth(name: str) -> tuple[float, ...]:
            scores = known[name].scores
            return known[name].holds or 0, round(scores.overall, 2), -scores.ms

        return max(known, key=worth, default=None)


def parse_config(method: Method, values: dict[str, Any]) -> MethodConfig:
    """A method's configuration from plain values. Raises `InvalidRequest` naming each field out of bounds."""
    try:
        return method.config(**values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        fields = ", ".join(method.config.model_fields) or "none"
        raise InvalidRequest(f"Bad configuration of {method.name}: {problems}. Fields: {fields}.") from error


def load_profile(model_hash: str, directory: Path) -> Profile | None:
    """What is known about a model: the stored profile, and of methods that it lacks the shipped one; None without any.

    Raises `StorageError` when a file is there but damaged.
    """
    shipped = next((profile for profile in shipped_profiles() if profile.model_hash == model_hash), None)
    path = directory / f"{model_hash}.json"
    if not path.is_file():
        return shipped
    stored = _parse(path.read_text(encoding="utf-8"), str(path))
    earlier = shipped.methods if shipped else {}
    return stored.model_copy(update={"methods": {**earlier, **stored.methods}})


def shipped_profiles() -> Iterator[Profile]:
    """The profiles that come with the package."""
    yield from (_parse(content, name) for name, content in packaged())


def packaged(*folders: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the JSON files under the package's `profiles`, or a folder in it, by name."""
    folder = files("ketools").joinpath("profiles", *folders)
    for file in sorted(folder.iterdir(), key=lambda item: item.name) if folder.is_dir() else ():
        if file.name.endswith(".json"):
            yield file.name, file.read_text(encoding="utf-8")


def store_profile(profile: Profile, directory: Path) -> Path:
    """Write a profile, whole or not at all; methods stored earlier and not calibrated anew stay.

    Raises `StorageError` when the directory cannot be written.
    """
    path = directory / f"{profile.model_hash}.json"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            earlier = _parse(path.read_text(encoding="utf-8"), str(path))
            profile = profile.model_copy(update={"methods": {**earlier.methods, **profile.methods}})
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(profile.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"Cannot store the profile at {path}: {error}. Give another directory.") from error
    return path


def _parse(content: str, name: str) -> Profile:
    try:
        return Profile.model_validate_json(content)
    except ValidationError as error:
        raise StorageError(f"The profile {name} is damaged; delete it and run calibrate again.") from error
