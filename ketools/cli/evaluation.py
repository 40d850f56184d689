"""`ketools evaluate` with its gate, and `ketools report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ketools.cli.errors import fail
from ketools.cli.session import (
    Adapters,
    EngineName,
    Json,
    Urls,
    VLLMPython,
    names,
    progress,
    session,
    show_json,
)


def evaluate(
    context: typer.Context,
    data: Annotated[str, typer.Option(help="A bundled data set, or a JSON file in a published format.")] = (
        "atlas-knowedit"
    ),
    methods: Annotated[str, typer.Option(help="Comma-separated names from `ketools methods`, auto, or all.")] = (
        "ice,ike,ft-m,rome,auto"
    ),
    protocol: Annotated[str, typer.Option(help="single, batch or sequential.")] = "single",
    n: Annotated[int | None, typer.Option(min=1, help="Cases, the tasks taken in turn; default all.")] = None,
    checkpoints: Annotated[str, typer.Option(help="Sequential: after how many edits to ask.")] = "1,10,100",
    texts: Annotated[Path | None, typer.Option(help="Held-out texts for perplexity, one a line.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder: its cases, resumed from, and summary.")] = None,
    require: Annotated[str, typer.Option(help="Exit 1 when missed: success>=0.95,locality>=0.98")] = "",
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    as_json: Json = False,
) -> None:
    """Measure methods on a benchmark: success, portability, locality, fluency, time."""
    from ketools.cli.evaluating import Plan, run_plan
    from ketools.errors import InvalidRequest
    from ketools.evaluation.gate import misses, requirements

    wanted = requirements(require)
    try:
        stops = tuple(int(stop) for stop in names(checkpoints) or ())
    except ValueError:
        raise InvalidRequest(f"{checkpoints!r} is no list of numbers, such as 1,10,100.") from None
    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    plan = Plan(data, names(methods) or (), protocol, n, out, stops, texts)  # type: ignore[arg-type]
    with progress("evaluating") as report:
        found = run_plan(options.settings(), plan, report)
    missed = misses(wanted, found.summaries)
    if as_json:
        show_json(found.model_dump(mode="json") | {"missed": missed})
    else:
        _show(found.summaries)
    if missed:
        fail("Missed: " + "; ".join(missed))


def _show(summaries: dict[str, Any]) -> None:
    print(f"{'method':12}{'success':>9}{'rephrase':>10}{'portab.':>9}{'locality':>10}{'ms/edit':>9}{'n':>6}")
    for name, s in summaries.items():
        shares = (_share(s.success, 9), _share(s.rephrase, 10), _share(s.portability, 9), _share(s.locality, 10))
        print(f"{name:12}{''.join(shares)}{s.ms_per_edit:9.0f}{s.n:6}")


def _share(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.3f}"


def report(
    run: Annotated[Path, typer.Argument(help="A folder that `ketools evaluate --out` wrote.")], as_json: Json = False
) -> None:
    """Write a run's report beside it: one self-contained HTML page, and its tables in Markdown."""
    from ketools.evaluation.report import write_report

    page, tables = write_report(run)
    show_json({"html": str(page), "markdown": str(tables)}) if as_json else print(page, tables, sep="\n")
