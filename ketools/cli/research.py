"""Commands that measure: evaluation, calibration, benchmarks, the bundled model, the demo, the schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.errors import Group, fail
from ketools.cli.session import Json, show_json


def demo(as_json: Json = False) -> None:
    """Play the main job: an agent is corrected, edits the model, and the edit is taken back."""
    from ketools.demo import main

    raise typer.Exit(main(as_json))


def schemas(
    directory: Annotated[Path, typer.Argument(help="Where the files lie.")] = Path("tool_schemas"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 on drift.")] = False,
    as_json: Json = False,
) -> None:
    """Write the JSON Schemas of the tools, or check that the committed ones are current."""
    from ketools.tools import schemas as source

    changed = source.check(directory) if check else source.write(directory)
    if as_json:
        show_json({"directory": str(directory), "changed": changed})
    elif not check:
        print(f"{len(changed)} of {len(source.render())} schemas changed in {directory}.")
    if check and changed:
        fail(f"Out of date in {directory}: {', '.join(changed)}. Run: ketools schemas {directory}")


atlas_app = typer.Typer(
    cls=Group, help="The bundled model: its report, training and data.", no_args_is_help=True
)


@atlas_app.command("report")
def atlas_report(
    model: Annotated[Path | None, typer.Argument(help="A model folder; default the bundled weights.")] = None,
    n: Annotated[int, typer.Option(min=1, help="Cases per skill.")] = 150,
    as_json: Json = False,
) -> None:
    """Measure the model's skills on held-out cases."""
    from ketools.atlas import weights_path
    from ketools.atlas.report import report

    found = report(model or weights_path(), n)
    if as_json:
        show_json(found)
        return
    for skill in found["skills"]:
        print(f"{skill['name']:28} {skill['value']:.3f}  goal {skill['goal']}  n {skill['n']}")


@atlas_app.command("train")
def atlas_train(
    folder: Annotated[Path, typer.Option(help="Where to work; training resumes what lies there.")] = Path(
        ".cache/atlas"
    ),
    tokens: Annotated[int | None, typer.Option(min=1, help="Token budget of the schedule.")] = None,
    until: Annotated[int | None, typer.Option(min=1, help="Stop, resumably, after so many.")] = None,
    as_json: Json = False,
) -> None:
    """Train the bundled model from scratch."""
    from ketools.atlas.train import Plan, train

    path = train(Plan() if tokens is None else Plan(tokens=tokens), folder, until)
    show_json({"model": str(path)}) if as_json else print(path)
