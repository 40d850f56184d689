"""`ketools multihop`: agents on benchmarks of multi-hop questions, one question, and the scope detector."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ketools.cli.errors import Group
from ketools.cli.session import Json, Space, names, progress, session, show, show_json

multihop_app = typer.Typer(cls=Group, help="Questions of several hops over edited facts.")


@multihop_app.callback(invoke_without_command=True)
def multihop(
    context: typer.Context,
    data: Annotated[str, typer.Option(help="atlas-mquake, or a file in MQuAKE's or RippleEdits' format.")] = (
        "atlas-mquake"
    ),
    agents: Annotated[str, typer.Option(help="Comma-separated: auto, mello, pokemqa.")] = "mello,pokemqa,auto",
    k: Annotated[str, typer.Option(help="Cases whose edits share a memory: numbers, or all.")] = "1,100,all",
    n: Annotated[int | None, typer.Option(min=1, help="Cases to ask; default all.")] = None,
    reader: Annotated[
        Literal["model", "oracle"],
        typer.Option(help="oracle: hops answered from the data set, the rest measured alone."),
    ] = "model",
    prompts: Annotated[Path | None, typer.Option(help="A folder of prompts in place of the packaged ones.")] = None,
    detector: Annotated[Path | None, typer.Option(help="A scope detector for PokeMQA in place of atlas's.")] = None,
    record: Annotated[Path | None, typer.Option(help="Keep every transcript in this file, and resume from it.")] = None,
    as_json: Json = False,
) -> None:
    """Measure multi-hop agents: answers, hops, untouched questions, at several sizes of memory."""
    if context.invoked_subcommand:
        return
    from ketools.bench.multihop import Options, measure

    options = Options(data, names(agents) or (), names(k) or (), n, reader, prompts, detector, record)
    with progress("multi-hop") as report:
        found = measure(session(context).settings(), options, report)
    if as_json:
        show_json({a: {size: s.model_dump(mode="json") for size, s in sizes.items()} for a, sizes in found.items()})
        return
    print(f"{'agent':10}{'k':>6}{'accuracy':>10}{'/question':>11}{'hopwise':>10}{'unedited':>10}{'n':>6}")
    for agent, sizes in found.items():
        for size, s in sizes.items():
            shares = (s.accuracy, s.accuracy_per_question, s.hopwise, s.unedited)
            print(f"{agent:10}{size:>6}{''.join(_share(v) for v in shares)}{s.n:6}")


def _share(value: float | None) -> str:
    return f"{'-':>10}" if value is None else f"{value:10.3f}"


@multihop_app.command("ask")
def ask(
    context: typer.Context,
    question: Annotated[str, typer.Argument(help="What is asked.")],
    space: Space = None,
    agent: Annotated[str, typer.Option(help="auto, mello or pokemqa.")] = "auto",
    as_json: Json = False,
) -> None:
    """Answer one question over a space's edits, with the chain and the edits used."""
    show(session(context).run("answer_multihop", question=question, space=space, agent=agent), as_json)


@multihop_app.command("train-scope")
def train_scope(
    context: typer.Context,
    pairs: Annotated[
        Path | None, typer.Option(help='JSON lines {"fact", "question", "in_scope"}; default made from the world.')
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the detector goes.")] = Path("scope.safetensors"),
    steps: Annotated[int, typer.Option(min=1, max=100_000)] = 1200,
    as_json: Json = False,
) -> None:
    """Train PokeMQA's scope detector and measure it on held-out facts."""
    from ketools.bench.multihop import encoder_of
    from ketools.multihop.training import known_pairs, read_pairs
    from ketools.multihop.training import train_scope as train

    given = read_pairs(pairs) if pairs else known_pairs()
    with progress("scope detector") as report:
        trained = train(given, encoder_of(session(context).settings()), steps=steps, progress=report)
    trained.detector.save(out)
    quality = trained.quality
    if as_json:
        show_json({"detector": str(out), **quality.model_dump()})
    else:
        print(f"{out}: found {quality.found:.3f}, false {quality.false:.3f}, n {quality.n}")
