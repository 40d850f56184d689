"""`ketools bench`: speed and memory, measured on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from ketools.cli.errors import Group
from ketools.cli.session import Json, names, progress, session, show_json

bench_app = typer.Typer(cls=Group, help="Benchmarks: speed on this machine.", no_args_is_help=True)


@bench_app.callback()
def bench() -> None:
    """Benchmarks: speed on this machine."""


@bench_app.command("edit")
def bench_edit(
    context: typer.Context,
    n: Annotated[int, typer.Option(min=1, help="Edits per method.")] = 30,
    methods: Annotated[str, typer.Option(help="Comma-separated names from `ketools methods`.")] = "ice,ike,ft-m,rome",
    as_json: Json = False,
) -> None:
    """Where the milliseconds of an edit go, per method: compute, verification, journal, swap."""
    from ketools.bench.edit import bench_edit as run

    with progress("bench edit") as report:
        found = run(session(context).settings(), n, names(methods) or (), report)
    if as_json:
        show_json(found)
        return
    print(f"note {found['note_ms']:.1f} ms without verification, n {found['n']}")
    for name, parts in found["methods"].items():
        print(f"{name:8}" + "".join(f"{part.removesuffix('_ms'):>10} {ms:8.1f}" for part, ms in parts.items()))
