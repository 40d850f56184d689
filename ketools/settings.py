"""Settings, each with an environment twin `KETOOLS_...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def _bundled() -> Path:
    from ketools.atlas import weights_path

    return weights_path()


class Settings(BaseSettings):
    """How a service is set up. Every field can be given as `KETOOLS_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="KETOOLS_", extra="ignore", frozen=True)

    model: Annotated[Path, Field(description="A local Hugging Face causal LM directory.")] = Field(
        default_factory=_bundled
    )
    home: Annotated[Path, Field(description="Where journal, artefacts and profiles live.")] = (
        Path.home() / ".local" / "share" / "ketools"
    )
    journal_url: Annotated[
        str | None, Field(description="SQLAlchemy URL of the journal; default a SQLite file in home.")
    ] = None
    parametric: Annotated[
        str, Field(description="The parametric method that `auto` uses for erasing and consolidation.")
    ] = "ft-m"
    consolidate: Annotated[
        bool, Field(description="Whether `auto` moves its notes into weights in the background.")
    ] = True
    min_success: Annotated[float, Field(ge=0, le=1)] = 0.75
    min_locality: Annotated[float, Field(ge=0, le=1)] = 0.75
    max_leak: Annotated[float, Field(ge=0, le=1)] = 0.0
    encoder: Annotated[
        str | None,
        Field(
            description="What embeds texts for retrieval: a sentence-transformers directory, or the base URL of an "
            "OpenAI-compatible server; default the packaged all-MiniLM-L6-v2."
        ),
    ] = None
    encoder_model: Annotated[str | None, Field(description="The embedding model's name, for a URL.")] = None
    encoder_key: Annotated[SecretStr | None, Field(description="The bearer token, for a URL.")] = None
    threads: Annotated[int, Field(ge=0, le=256, description="Torch threads; 0 leaves torch's default.")] = 0

    @property
    def journal(self) -> str:
        """The journal's URL."""
        return self.journal_url or f"sqlite:///{self.home / 'journal.db'}"
