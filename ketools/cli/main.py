"""`ketools`: every tool and server from the command line. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import typer

from ketools import __version__
from ketools.cli import (
    auditing,
    benching,
    chat,
    evaluation,
    gateway,
    installing,
    knowledge,
    locating,
    models,
    multihop,
    research,
    scoping,
    serving,
)
from ketools.cli.errors import Group
from ketools.cli.session import (
    Adapters,
    Device,
    DType,
    EngineName,
    Home,
    JournalPlace,
    Model,
    Session,
    Urls,
    VLLMPython,
)
from ketools.core.plugins import plugins

COMMANDS = "ketools.commands"
"""The group of entry points under which packages register commands."""

app = typer.Typer(
    name="ketools",
    cls=Group,
    help="Edit what a served language model knows: verified, scoped, journalled, undoable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ketools {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    model: Model = None,
    home: Home = None,
    journal: JournalPlace = None,
    engine: EngineName = None,
    url: Urls = None,
    adapters: Adapters = None,
    vllm_python: VLLMPython = None,
    device: Device = None,
    dtype: DType = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Options for every command, before its name; each can be set as KETOOLS_... in the environment too."""
    context.obj = Session(model, home, engine, url, adapters, vllm_python, journal, device, dtype)


def _add(panel: str, commands: Mapping[str, Callable[..., None]]) -> None:
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)


_add("Serve", {"serve": serving.serve, "gateway": gateway.gateway, "chat": chat.chat})
app.add_typer(models.model_app, name="model", rich_help_panel="Serve")
app.add_typer(serving.token_app, name="token", rich_help_panel="Serve")
app.add_typer(installing.mcp_app, name="mcp", rich_help_panel="Serve")
_add(
    "Knowledge",
    {
        "ask": knowledge.ask,
        "edit": knowledge.edit,
        "edit-many": knowledge.edit_many,
        "erase": knowledge.erase,
        "personality": knowledge.personality,
        "list": knowledge.list_,
        "show": knowledge.show_,
        "verify": knowledge.verify,
        "undo": knowledge.undo,
        "proposals": knowledge.proposals,
        "approve": knowledge.approve,
        "reject": knowledge.reject,
        "audit": auditing.audit,
    },
)
_add(
    "Spaces and jobs",
    {
        "spaces": knowledge.spaces,
        "fork": knowledge.fork,
        "drop": knowledge.drop,
        "compare": knowledge.compare,
        "restore": knowledge.restore,
        "consolidate": knowledge.consolidate,
        "rebase": knowledge.rebase,
        "job": knowledge.job,
    },
)
_add(
    "Measure",
    {
        "demo": research.demo,
        "methods": knowledge.methods,
        "evaluate": evaluation.evaluate,
        "report": evaluation.report,
        "judge": evaluation.judge,
        "evaluate-space": evaluation.evaluate_space,
        "lm-eval": evaluation.lm_eval,
        "compare-methods": evaluation.compare_methods,
        "calibrate": research.calibrate,
        "train-scope": scoping.train_scope,
        "locate": locating.locate,
        "locate-similarity": locating.locate_similarity,
        "schemas": research.schemas,
        "train-manners": research.train_manners,
    },
)
for _name, _commands in plugins(COMMANDS, typer.Typer).items():
    app.add_typer(_commands, name=_name, rich_help_panel="Measure")
app.add_typer(benching.bench_app, name="bench", rich_help_panel="Measure")
app.add_typer(multihop.multihop_app, name="multihop", rich_help_panel="Measure")

if __name__ == "__main__":
    app()
