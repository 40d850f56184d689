"""The commands that show where facts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ketools.cli.session import Json, progress, session
from ketools.core.errors import InvalidRequest
from ketools.knowledge.relations import relation_named


def locate(
    context: typer.Context,
    subject: Annotated[str, typer.Option(help="The subject as the prompt names it.")],
    prompt: Annotated[
        str | None, typer.Argument(help="A cloze to continue, or a question for the chat template.")
    ] = None,
    fact: Annotated[
        str | None, typer.Option(help="In place of a prompt: which fact about the subject, such as capital.")
    ] = None,
    answer: Annotated[str | None, typer.Option(help="Whose first token is traced; default the model's own.")] = None,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Corruptions to average over.")] = 8,
    png: Annotated[Path | None, typer.Option(help="Draw heat maps to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show by causal tracing and the logit lens where the base model reads a fact."""
    from ketools.editing.editor import Editor
    from ketools.evaluation.locating import draw
    from ketools.evaluation.locating import locate as trace
    from ketools.models.contexts import form

    if prompt is None and fact is not None:
        prompt = relation_named(fact).cloze[0].format(s=subject)
    elif prompt is None or fact is not None:
        raise InvalidRequest("Say what to locate: either a prompt or --fact, not both.")
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


def locate_similarity(
    context: typer.Context,
    related: Annotated[
        Literal["phrasings", "chains"], typer.Option(help="Other phrasings of a fact, or questions that go on from it.")
    ] = "phrasings",
    kind: Annotated[
        Literal["hidden", "ffn", "attention"], typer.Option(help="The states whose effects are compared.")
    ] = "ffn",
    n: Annotated[int, typer.Option(min=2, max=500, help="Groups of related facts, of the bundled world.")] = 8,
    samples: Annotated[int, typer.Option(min=1, max=64, help="Corruptions to average over.")] = 4,
    as_json: Json = False,
) -> None:
    """Show whether causal tracing finds related facts in the same blocks, more than unrelated ones (RSim)."""
    from ketools.editing.editor import Editor
    from ketools.evaluation.locating import compare, known_groups

    with progress("locating") as report:
        editor = Editor(session(context).settings().model)
        found = compare(editor, known_groups(related, n), kind, samples=samples, progress=report)
    if as_json:
        print(found.model_dump_json())
        return
    print(found.line())
    for k, (near, overall, relative) in enumerate(zip(found.related, found.overall, found.relative, strict=True), 1):
        print(f"  {k} blocks: related {near:.3f}, any {overall:.3f}, RSim {relative:.3f}")
