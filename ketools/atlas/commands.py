"""`ketools atlas`: registered as a group of commands, as any package may register one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.errors import Group
from ketools.cli.session import Json, progress, show_json

atlas_app = typer.Typer(cls=Group, help="The bundled model: its report, training and data.", no_args_is_help=True)


@atlas_app.command("report")
def atlas_report(
    model: Annotated[Path | None, typer.Argument(help="A model folder; default the bundled weights.")] = None,
    n: Annotated[int, typer.Option(min=1, help="Cases per skill.")] = 150,
    as_json: Json = False,
) -> None:
    """Measure the model's skills on held-out cases."""
    from ketools.atlas import weights_path
    from ketools.atlas.report import report

    with progress("measuring") as told:
        found = report(model or weights_path(), n, told)
    if as_json:
        show_json(found)
        return
    for skill in found["skills"]:
        print(f"{skill['name']:28} {skill['value']:.3f}  goal {skill['goal']}  n {skill['n']}")


@atlas_app.command("data")
def atlas_data(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("atlas-data"), as_json: Json = False
) -> None:
    """Write the benchmarks of the bundled world in their published formats, and tasks for lm-evaluation-harness."""
    from ketools.atlas import ability, datasets

    written = [str(path) for path in (*datasets.write(folder), *ability.write(folder / "ability"))]
    show_json({"files": written}) if as_json else print("\n".join(written))


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
    from ketools.atlas.train import TrainingPlan, train

    path = train(TrainingPlan() if tokens is None else TrainingPlan(tokens=tokens), folder, until)
    show_json({"model": str(path)}) if as_json else print(path)
