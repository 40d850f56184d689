"""Commands that measure: calibration, benchmarks, the bundled model, the demo, the schemas."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from ketools.cli.errors import fail
from ketools.cli.session import Adapters, EngineName, Json, Urls, VLLMPython, names, progress, session, show_json


def demo(
    context: typer.Context,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    as_json: Json = False,
) -> None:
    """Play the main job: an agent is corrected, edits the model, and the edit is taken back.

    Without --model it is played on SmolLM2, which is fetched once, or on the bundled model where it cannot be had.
    """
    from ketools.cli.demo import main
    from ketools.cli.models import fetched_or_bundled

    options = session(context).but(engine=engine, urls=url, adapters=adapters, vllm_python=vllm_python)
    model = fetched_or_bundled(options)
    raise typer.Exit(main(model, as_json, replace(options, model=None).arguments()))


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


def calibrate(
    context: typer.Context,
    model: Annotated[Path | None, typer.Argument(help="A model directory; default that of --model.")] = None,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; default all that can be.")] = None,
    data: Annotated[str | None, typer.Option(help="Edits to try on; default facts of the bundled world.")] = None,
    n: Annotated[int, typer.Option(min=1, help="Edits to try on.")] = 24,
    budget: Annotated[float, typer.Option(min=1, help="Seconds, shared by the methods.")] = 600.0,
    as_json: Json = False,
) -> None:
    """Find each method's best configuration for a model and store it in the home."""
    from ketools.cli import evaluating

    here = session(context)
    settings = replace(here, model=model or here.model).settings()
    with progress("calibrating") as report:
        found = evaluating.calibrate_model(settings, names(methods), n, budget, data, report)
    if as_json:
        print(found.model_dump_json(indent=2))
        return
    for name, best in found.methods.items():
        s = best.scores
        print(f"{name}: success {s.success:.2f}, rephrase {s.rephrase:.2f}, locality {s.locality:.2f}, n {s.n}")
        print(f"  {best.config}")


def train_manners(
    out: Annotated[Path, typer.Argument(help="Where to write the head's weights.")] = Path("weights.safetensors"),
    as_json: Json = False,
) -> None:
    """Train the classifier of manners on the packaged texts, and measure it on those kept back."""
    from ketools.knowledge.manners import train_manners as train
    from ketools.retrieval import MiniLMEncoder

    head, quality = train(MiniLMEncoder())
    head.save(out)
    if as_json:
        show_json({"weights": str(out), **asdict(quality)})
        return
    print(f"{out}: right {quality.head:.2f}, lexicon {quality.lexicon:.2f}, agreement {quality.agreement:.2f}")
    print(f"of {quality.n} texts kept back")
