"""Settings, each with an environment twin `KETOOLS_...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ketools.models.catalogue import DEFAULT, model_directory


def _python_with_vllm() -> Path:
    """The environment that `make vllm` sets up, where there is one."""
    beside = Path(".venv-vllm/bin/python")
    return beside if beside.exists() else Path(sys.executable)


class Settings(BaseSettings):
    """How a service is set up. Every field can be given as `KETOOLS_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="KETOOLS_", extra="ignore", frozen=True)

    home: Annotated[Path, Field(description="Where journal, artefacts, profiles and fetched models live.")] = (
        Path.home() / ".local" / "share" / "ketools"
    )
    model: Annotated[
        Path,
        Field(
            validate_default=True,
            description="The name of a fetched model, a Hugging Face causal LM directory, `atlas` (the bundled "
            "model), or `default`: SmolLM2 where it was fetched, else the bundled one.",
        ),
    ] = Path(DEFAULT)
    journal: Annotated[
        str | None,
        Field(max_length=2000, description="The journal: a file, or postgresql://USER@HOST/DATABASE; default in home."),
    ] = None
    secret_path: Annotated[
        Path | None,
        Field(description="The key of the journal's hashes, one file for all servers; default beside the journal."),
    ] = None
    artefacts: Annotated[
        Path | None, Field(description="The artefact store, shared by every server of a journal; default in home.")
    ] = None
    engine: Annotated[Literal["local", "vllm"], Field(description="What generates: in this process, or vLLM.")] = (
        "local"
    )
    device: Annotated[
        str,
        Field(
            pattern=r"^(cpu|cuda(:\d{1,3})?)$",
            description="Where the editor and the local engine compute: cpu, cuda or cuda:N.",
        ),
    ] = "cpu"
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"],
        Field(description="How the editor and the local engine hold the weights; changes are fp32, solves float64."),
    ] = "float32"
    urls: Annotated[
        str, Field(max_length=4000, description="vLLM replicas, comma-separated; none: one is started and supervised.")
    ] = ""
    adapters: Annotated[
        Path | None, Field(description="The adapter store, under the same path on every replica; default in home.")
    ] = None
    vllm_python: Annotated[
        Path, Field(description="The Python that has vLLM, to start one; default .venv-vllm here, else this Python.")
    ] = Field(default_factory=_python_with_vllm)
    vllm_flags: Annotated[str, Field(max_length=4000, description="More flags for a vLLM that is started here.")] = ""
    max_lora_rank: Annotated[int, Field(ge=1, le=512, description="Rank limit of a vLLM started here.")] = 64
    in_place: Annotated[
        bool, Field(description="Keep the global space's changes in the weights of a vLLM started here, exactly.")
    ] = False
    wait_s: Annotated[float, Field(gt=0, le=3600, description="How long to wait for the first replica.")] = 600.0
    parametric: Annotated[
        str,
        Field(
            description="The method by which `auto` edits weights; 'auto': the calibrated one that holds most edits."
        ),
    ] = "auto"
    consolidate: Annotated[
        bool, Field(description="Whether `auto` moves its notes into weights in the background.")
    ] = True
    min_success: Annotated[float, Field(ge=0, le=1)] = 0.75
    min_locality: Annotated[float, Field(ge=0, le=1)] = 0.75
    max_leak: Annotated[float, Field(ge=0, le=1)] = 0.0
    edit_policy: Annotated[
        Path | None,
        Field(description="What agents may edit without a person, a JSON file; default edit_policy.json in home."),
    ] = None
    webhook_url: Annotated[
        str | None, Field(max_length=2000, description="Is told of versions, proposals and decisions; see docs/mcp.md.")
    ] = None
    webhook_secret: Annotated[SecretStr | None, Field(description="Signs what the webhook is told.")] = None
    encoder: Annotated[
        str | None,
        Field(
            description="What embeds texts for retrieval: a sentence-transformers directory, or the base URL of an "
            "OpenAI-compatible server; default the packaged all-MiniLM-L6-v2."
        ),
    ] = None
    encoder_model: Annotated[str | None, Field(description="The embedding model's name, for a URL.")] = None
    encoder_key: Annotated[SecretStr | None, Field(description="The bearer token, for a URL.")] = None
    multihop_prompts: Annotated[
        Path | None,
        Field(description="A folder of prompts for the multi-hop agents; default those packaged for the model."),
    ] = None
    multihop_detector: Annotated[
        Path | None, Field(description="PokeMQA's scope detector (multihop train-scope); default the bundled model's.")
    ] = None
    max_running: Annotated[int, Field(ge=1, description="Calls of one principal that run at once; others wait.")] = 4
    max_waiting: Annotated[int, Field(ge=0, description="Calls of one principal that may wait.")] = 256
    max_jobs: Annotated[int, Field(ge=1, description="Jobs in a principal's spaces that have not ended.")] = 32
    max_edits_per_minute: Annotated[int, Field(ge=1, description="Facts that a principal may edit in a minute.")] = 2000
    max_text_per_minute: Annotated[
        int, Field(ge=1, description="Bytes of arguments that a principal may send in a minute.")
    ] = 8_000_000
    max_live_edits: Annotated[int, Field(ge=1, description="Live edits in the spaces that a principal made.")] = 20_000
    max_spaces: Annotated[int, Field(ge=1, description="Spaces that a principal may make.")] = 1000
    threads: Annotated[int, Field(ge=0, le=256, description="Torch threads; 0 leaves torch's default.")] = 0

    @field_validator("model")
    @classmethod
    def _directory(cls, model: Path, info: ValidationInfo) -> Path:
        """The directory that the model's name means. Raises `ModelError` for an unknown name."""
        return model_directory(model, info.data["home"]) if "home" in info.data else model

    @property
    def measured_on(self) -> str:
        """What measurements are kept under: the engine, with the precision of one that is not in fp32."""
        exact = self.engine == "vllm" or self.dtype == "float32"
        return self.engine if exact else f"{self.engine}-{self.dtype}"

    @property
    def artefact_place(self) -> Path:
        """Where the artefact store lies."""
        return self.artefacts or self.home / "artefacts"

    @property
    def journal_place(self) -> tuple[str | Path, Path | None]:
        """Where the journal lies, and its secret; None: beside the file."""
        where = self.journal or self.home / "journal.db"
        remote = isinstance(where, str) and "://" in where and not where.startswith("sqlite")
        return where, self.secret_path or (self.home / "journal.secret" if remote else None)
