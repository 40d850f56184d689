"""Where a model reads a fact: causal tracing and the logit lens as one result, and as a heat map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ketools.editor import Editor
from ketools.edits import Prompt
from ketools.errors import MissingExtra, StorageError
from ketools.models.covariance import Progress, silent
from ketools.models.tracing import State, causal_trace, logit_lens
from ketools.results import Result


class Reading(BaseModel):
    """The logit lens after one block; `rank` 0 is the likeliest token."""

    model_config = ConfigDict(frozen=True)

    block: int
    says: str
    probability: float = Field(ge=0, le=1)
    rank: int = Field(ge=0)


class Location(Result):
    """Where an answer's first token comes from."""

    prompt: str
    subject: str
    answer: str
    tokens: tuple[str, ...] = Field(description="The prompt's tokens.")
    clean: float = Field(ge=0, le=1, description="Probability of the answer's first token.")
    corrupted: float = Field(ge=0, le=1, description="The same with noise on the subject.")
    effects: dict[State, list[list[float]]] = Field(
        description="Per kind of state, block and token: what putting it back adds to the corrupted probability."
    )
    strongest: dict[State, tuple[int, int]] = Field(description="Per kind: block and token of the largest effect.")
    lens: tuple[Reading, ...] = Field(description="The logit lens; empty where no norm stands before the head.")

    def line(self) -> str:
        """The result in a sentence or two."""
        block, token = self.strongest["ffn"]
        return (
            f"{self.answer.strip()!r} has probability {self.clean:.3f}, and {self.corrupted:.3f} with the subject "
            f"corrupted; the FFN matters most at block {block}, token {self.tokens[token].strip()!r}."
        )


def locate(
    editor: Editor,
    prompt: Prompt,
    subject: str,
    answer: str | None = None,
    *,
    samples: int = 8,
    progress: Progress = silent,
) -> Location:
    """Trace a prompt's answer, the model's own unless one is given, on the base model.

    Raises `InvalidRequest` when the prompt does not name the subject, and what `progress` raises.
    """
    with editor.model() as em:
        trace = causal_trace(em, prompt, subject, answer, samples=samples, progress=progress)
        readable = em.structure.final_norm is not None
        readings = logit_lens(em, prompt, answer or trace.answer.strip()) if readable else []
    effects = {kind: (values - trace.corrupted).tolist() for kind, values in trace.restored.items()}
    width = len(trace.tokens)
    largest = {kind: divmod(int(values.argmax()), width) for kind, values in trace.restored.items()}
    return Location(
        prompt="".join(trace.tokens),
        subject=subject,
        answer=trace.answer,
        tokens=trace.tokens,
        clean=trace.clean,
        corrupted=trace.corrupted,
        effects=effects,
        strongest=largest,
        lens=tuple(Reading(block=r.block, says=r.says, probability=r.probability, rank=r.rank) for r in readings),
    )


def draw(found: Location, path: Path) -> None:
    """Write the effects as heat maps, one per kind of state, in the format of the path's suffix.

    Raises `MissingExtra` without matplotlib, `StorageError` when the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "report") from None
    figure = Figure(figsize=(4.0 * len(found.effects), 1.5 + 0.22 * len(found.tokens)), layout="constrained")
    for axes, (kind, values) in zip(figure.subplots(1, len(found.effects)), found.effects.items(), strict=True):
        _heat_map(figure, axes, found, kind, values)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"Cannot draw to {path}: {error}. Give a writable path that ends in .png or .svg."
        ) from error


def _heat_map(figure: Any, axes: Any, found: Location, kind: str, values: list[list[float]]) -> None:
    by_token = [list(column) for column in zip(*values, strict=True)]
    image = axes.imshow(by_token, aspect="auto", cmap="Purples", vmin=0)
    # Dollar signs would be read as mathematics.
    axes.set_yticks(range(len(found.tokens)), [token.replace("$", r"\$") for token in found.tokens])
    axes.set_xlabel("block")
    axes.set_title(f"{kind}: gain of p({found.answer.strip()})".replace("$", r"\$"))
    figure.colorbar(image, ax=axes)
