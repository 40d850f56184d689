"""`ketools evaluate` with its gate, and `ketools report`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ketools.cli.errors import fail
from ketools.cli.session import (
    Adapters,
    EngineName,
    Json,
    Space,
    Urls,
    VLLMPython,
    names,
    own_space,
    progress,
    session,
    show,
    show_json,
)

if TYPE_CHECKING:
    from ketools.core.results import JobView
    from ketools.evaluation.wild import WildRun

Asking = Literal["probes", "wild"]


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
    texts: Annotated[Path | None, typer.Option(help="Texts for perplexity, one a line.")] = None,
    train: Annotated[
        str | None, typer.Option(help="Cross-domain: configure each method on this data set's training split first.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder: its cases, resumed from, and summary.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=64, help="Processes that ask a share each; with --url, of one server each.")
    ] = 1,
    locate: Annotated[
        int, typer.Option(min=0, max=100, help="Cases whose facts are traced, for the report's figures 8 and 9.")
    ] = 0,
    require: Annotated[
        str, typer.Option(help="Exit 1 when missed: success>=0.95,portability.Reasoning>=0.8,zsre.kl<=0.1")
    ] = "",
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    asking: Annotated[
        Asking, typer.Option(help="probes: the data's own; wild: natural answers in three contexts, with shams.")
    ] = "probes",
    as_json: Json = False,
) -> None:
    """Measure methods on a benchmark: success, portability, locality, fluency, time, memory."""
    from ketools.cli.evaluating import EvaluationPlan, run_plan, run_wild
    from ketools.core.errors import InvalidRequest
    from ketools.evaluation import load
    from ketools.evaluation.gate import Names, misses, requirements

    wanted = requirements(require, Names.of(load(data).first(n))) if require else []
    try:
        stops = tuple(int(stop) for stop in names(checkpoints) or ())
    except ValueError:
        raise InvalidRequest(f"{checkpoints!r} is no list of numbers, such as 1,10,100.") from None
    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    plan = EvaluationPlan(data, names(methods) or (), protocol, n, out, stops, texts, train, workers, locate)  # type: ignore[arg-type]
    if asking == "wild":
        with progress("evaluating") as report:
            runs = run_wild(options.settings(), plan, report)
        show_wild(runs, as_json)
        return
    with progress("evaluating") as report:
        found = run_plan(options.settings(), plan, report)
    missed = misses(wanted, found.methods)
    if as_json:
        show_json(found.model_dump(mode="json") | {"missed": missed})
    else:
        _show(found.methods)
        for row in found.bad:
            print(f"not read: {row}", file=sys.stderr)
    if missed:
        fail("Missed: " + "; ".join(missed))


def show_wild(runs: Sequence[WildRun], as_json: bool) -> None:
    """Print what `--asking wild` measured: a line per method and measure, or JSON."""
    if as_json:
        show_json({"methods": {run.method: run.model_dump(mode="json") for run in runs}})
        return
    for run in runs:
        print(f"{run.method} ({run.protocol}, {run.n} rows, {run.edit_s:.1f} s an edit, {len(run.failed)} not made)")
        for name, found in run.measures.items():
            contexts = ", ".join(f"{context} {one.value:.3f}" for context, one in run.contexts[name].items())
            print(f"  {name:15} {found.value:.3f} {found.ci or ''} n {found.n}, exact {found.exact:.3f} ({contexts})")


def evaluate_space(context: typer.Context, space: Space = None, as_json: Json = False) -> None:
    """Verify every live edit of a space again."""
    show(session(context).run("evaluate_space", space=space, wait=True), as_json, _detail)


def compare_methods(
    context: typer.Context,
    facts: Annotated[Path, typer.Argument(help="A JSON list of objects: subject, prompt, target_new.")],
    methods: Annotated[str | None, typer.Option(help="Comma-separated; default all.")] = None,
    space: Space = None,
    as_json: Json = False,
) -> None:
    """Try the same facts by several methods, commit nothing, and recommend one."""
    from ketools.evaluation.data import read_rows

    arguments = {"facts": read_rows(facts), "methods": names(methods) or [], "space": space, "wait": True}
    show(session(context).run("compare_methods", **arguments), as_json, _detail)


def _detail(job: JobView) -> str:
    return job.detail()


def lm_eval(
    context: typer.Context,
    tasks: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Task files (YAML), with their data.")],
    space: Space = None,
    n: Annotated[int | None, typer.Option(min=1, help="Documents of each task; default all.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask each context as a chat turn.")] = False,
    as_json: Json = False,
) -> None:
    """Run lm-evaluation-harness' tasks from local files on the untouched model and on a space."""
    from ketools.cli.offline import go_offline

    here = session(context)
    go_offline(here.settings().home)
    from ketools.core.principals import OPERATOR
    from ketools.evaluation.offline import local_tasks
    from ketools.layers.composition import BASE

    found = local_tasks(tasks)
    from ketools.evaluation.harness import ServedSpace

    with here.service() as service:
        space = own_space(space)
        layers = {"base": BASE, space: service.asking.layer(OPERATOR, space)[0]}
        made = {
            name: found.run(ServedSpace(service.runtime.engine, service.runtime.notes, layer, chat), n)
            for name, layer in layers.items()
        }
    show_json(made) if as_json else print(_harness_table(made, space))


def _harness_table(made: dict[str, dict[str, dict[str, float]]], space: str) -> str:
    lines = [f"{'task':24}{'metric':20}{'base':>9}{space:>20}{'n':>6}"]
    for task, values in made["base"].items():
        for metric in sorted(values.keys() - {"n"}):
            edited = made[space][task][metric]
            lines.append(f"{task:24}{metric:20}{values[metric]:9.3f}{edited:20.3f}{values['n']:6.0f}")
    return "\n".join(lines)


def _show(summaries: dict[str, Any]) -> None:
    heads = f"{'success':>9}{'rephrase':>10}{'portab.':>9}{'locality':>10}"
    print(f"{'method':12}{heads}{'ms/edit':>9}{'peak MB':>9}{'n':>6}")
    for name, s in summaries.items():
        shares = (_share(s.success, 9), _share(s.rephrase, 10), _share(s.portability, 9), _share(s.locality, 10))
        print(f"{name:12}{''.join(shares)}{s.ms_per_edit:9.0f}{_share(s.peak_mb, 9, 1)}{s.n:6}")


def _share(value: float | None, width: int, digits: int = 3) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def report(
    run: Annotated[Path, typer.Argument(help="A folder that `ketools evaluate --out` wrote.")],
    figures: Annotated[Path | None, typer.Option(help="Draw each figure to an SVG file in this folder too.")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's report beside it: one self-contained HTML page, and its tables in Markdown."""
    from ketools.evaluation.report import write_figures, write_report

    page, tables = write_report(run)
    drawn = write_figures(run, figures) if figures else []
    if as_json:
        show_json({"html": str(page), "markdown": str(tables), "figures": [str(path) for path in drawn]})
    else:
        print(page, tables, *drawn, sep="\n")


def judge(
    run: Annotated[Path, typer.Argument(help="A folder that `ketools evaluate --out` wrote.")],
    llm: Annotated[str, typer.Option(help="The judge: openai:MODEL, or module:attribute of a LangChain chat model.")],
    llm_url: Annotated[str | None, typer.Option(help="The base URL of the judge's OpenAI-compatible server.")] = None,
    as_json: Json = False,
) -> None:
    """Have a chat model rate how much the answers of a run show the manners edited in, before and after."""
    from ketools.agents.llm import load_llm
    from ketools.core.errors import EngineUnavailable
    from ketools.evaluation.judging import judged
    from ketools.evaluation.run import Run

    chosen, found = load_llm(llm, llm_url), Run.read(run)

    def ask(message: str) -> str:
        try:
            return chosen.invoke(message).text
        except Exception as error:  # each provider raises its own
            raise EngineUnavailable(f"The judge {llm} gives no answer: {error}. Check --llm and --llm-url.") from error

    with progress("judging") as report:
        made = {name: judged(found.results(run, name), ask, report) for name in found.methods}
    if as_json:
        show_json({name: one.model_dump(mode="json") for name, one in made.items()})
        return
    print(f"{'method':12}{'before':>8}{'after':>8}{'gain':>8}{'n':>6}{'unread':>8}")
    for name, one in made.items():
        print(f"{name:12}{_share(one.before, 8)}{_share(one.after, 8)}{_share(one.gain, 8)}{one.n:6}{one.unread:8}")
