"""The command that shows where a fact is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.session import Json, progress, session


def locate(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="A cloze to continue, or a question for the chat template.")],
    subject: Annotated[str, typer.Option(help="The subject as the prompt names it.")],
    answer: Annotated[str | None, typer.Option(help="Whose first token is traced; default the model's own.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Corruptions to average over.")] = 8,
    png: Annotated[Path | None, typer.Option(help="Draw heat maps to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show by causal tracing and the logit lens where the base model reads a fact."""
    from ketools.editor import Editor
    from ketools.locating import draw
    from ketools.locating import locate as trace
    from ketools.models.contexts import form

    with progress("locating") as report:
        editor = Editor(session(context).settings().model)
        found = trace(editor, form(prompt), subject, answer, samples=samples, progress=report)
    if png is not None:
        draw(found, png)
    if as_json:
        print(found.model_dump_json())
        return
    print(found.line())
    for reading in found.lens:
        print(
            f"  block {reading.block}: says {reading.says!r}; the answer {reading.probability:.3f}, rank {reading.rank}"
        )
