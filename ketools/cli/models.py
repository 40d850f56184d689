"""Commands about models by name: get, list, remove."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ketools.cli.errors import Group
from ketools.cli.session import Json, Session, session, show_json

if TYPE_CHECKING:
    from ketools.models.catalogue import ModelStore, StoredModel

model_app = typer.Typer(cls=Group, help="Models by name: fetched once, kept in the home.", no_args_is_help=True)


def model_store(context: typer.Context) -> ModelStore:
    """The models of this home."""
    from ketools.models.catalogue import ModelStore

    return ModelStore(session(context).home_directory())


def tell(line: str) -> None:
    """One line about what is being done."""
    sys.stderr.write(f"ketools: {line}\n")


def fetched_or_bundled(options: Session) -> Path:
    """The directory of the named model, fetched if the catalogue has it; without one that of the default.

    The default falls back to the bundled model, with one line saying so; a named model never does: its error is
    raised. Replicas that are running (`urls`) serve what they serve, so nothing is fetched for them.
    """
    from ketools.core.errors import KetoolsError
    from ketools.models.catalogue import BUNDLED, DEFAULTS, ModelStore, entry_of, model_directory
    from ketools.models.fetching import get_model

    home = options.home_directory()
    named = str(options.model or os.environ.get("KETOOLS_MODEL") or "")
    if named or options.urls:
        if entry_of(named) is not None:
            return get_model(ModelStore(home), named, tell).directory
        return options.settings().model.absolute()
    try:
        return get_model(ModelStore(home), DEFAULTS[0], tell).directory
    except KetoolsError as error:
        tell(f"{DEFAULTS[0]} cannot be had, so the bundled model is used: {' '.join(str(error).split())}")
        return model_directory(BUNDLED, home)


@model_app.command("get")
def get(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(help="A name that `ketools model list` shows, ORG/NAME of the Hugging Face hub, or FILE.gguf."),
    ],
    name: Annotated[str | None, typer.Option("--as", help="Keep it under this name.")] = None,
    as_json: Json = False,
) -> None:
    """Fetch a model, check it, convert it once and keep it in the home; `--model NAME` uses it from then on."""
    from ketools.models.fetching import get_model

    found = get_model(model_store(context), what, tell, name)
    if as_json:
        show_json(_row(found))
    else:
        print(f"{found.name} is ready: {found.directory}\nUse it: ketools --model {found.name} ask 'QUESTION'")


@model_app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the models of this home, which is the default (*), and those that can be fetched by name."""
    from ketools.models.catalogue import CATALOGUE

    found = model_store(context).list()
    there = {model.name for model in found}
    fetchable = [entry for entry in CATALOGUE if entry.name not in there]
    if as_json:
        rows = [{"name": e.name, "summary": e.summary, "licence": e.licence} for e in fetchable]
        show_json({"models": [_row(model) for model in found], "fetchable": rows})
        return
    print("\n".join(map(_line, found)))
    for entry in fetchable:
        print(f"  {entry.name}: {entry.summary}, {entry.licence}; not here yet: ketools model get {entry.name}")


@model_app.command("remove")
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Which, as `ketools model list` names it.")],
    as_json: Json = False,
) -> None:
    """Delete a fetched model. Edits that were made on it are kept, and can be used once it is fetched again."""
    folder = model_store(context).remove(name)
    if as_json:
        show_json({"removed": str(folder)})
    else:
        print(f"Removed {folder}")


def _row(model: StoredModel) -> dict[str, Any]:
    return asdict(model) | {"directory": str(model.directory)}


def _line(model: StoredModel) -> str:
    size = f"{model.parameters / 1e6:.0f}M parameters, {model.size / 1e6:.0f} MB"
    star = "*" if model.default else " "
    return f"{star} {model.name}: {model.family}, {size}, {model.licence}, {model.model_hash}"
