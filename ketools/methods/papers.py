"""What the papers used on models of the 7B class, found by a model's shape. Not measured here.

A calibrated profile goes before it, a method's own defaults (scaled by depth) come after it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from ketools.methods.base import Method, MethodConfig
from ketools.methods.profile import packaged, parse_config
from ketools.models.directory import CONFIG, existing, read_json

if TYPE_CHECKING:
    from ketools.models.editable import EditableModel


class Shape(BaseModel):
    """What a published configuration depends on: the family by transformers' name, and its size."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_type: str
    blocks: int
    hidden: int

    @classmethod
    def of(cls, model: EditableModel | Path) -> Shape:
        """The shape of a model, loaded or in a directory. Raises `ModelError` for a directory that is none."""
        if isinstance(model, Path):
            return cls._of_directory(model)
        config = model.model.config.get_text_config()
        return cls(model_type=config.model_type, blocks=config.num_hidden_layers, hidden=config.hidden_size)

    @classmethod
    def _of_directory(cls, folder: Path) -> Shape:
        """Without transformers, whose import is slow; a family with other names for its sizes has no published ones."""
        config = read_json(existing(folder, CONFIG))
        config = config.get("text_config", config)
        sizes = {"blocks": config.get("num_hidden_layers", 0), "hidden": config.get("hidden_size", 0)}
        return cls(model_type=config.get("model_type", ""), **sizes)


class PaperProfile(BaseModel):
    """Published configurations for models of one shape, in this package's units.

    `models`: which ones they were published for; `source`: where.
    """

    model_config = ConfigDict(frozen=True)

    shape: Shape
    models: str
    source: str
    methods: dict[str, dict[str, Any]]


@cache
def paper_profiles() -> tuple[PaperProfile, ...]:
    """Every published profile that comes with the package."""
    return tuple(PaperProfile.model_validate_json(content) for _, content in packaged("papers"))


def paper_config(method: Method, shape: Shape) -> MethodConfig | None:
    """What the papers used for a method on models of a shape; None where they are silent."""
    for profile in paper_profiles():
        if profile.shape == shape and method.name in profile.methods:
            return parse_config(method, profile.methods[method.name])
    return None
