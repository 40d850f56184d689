"""Writes the reference in docs/cli.md from the commands: `python -m ketools.cli.reference docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from ketools.cli.main import app

BEGIN, END = "<!-- generated: python -m ketools.cli.reference docs/cli.md -->", "<!-- end -->"


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if hasattr(child, "commands"):
            if child.invoke_without_command and child.params:
                yield f"{path} {name}", child
            yield from _commands(child, f"{path} {name}")
        else:
            yield f"{path} {name}", child


def _usage(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    names = [p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments]
    return " ".join([path, *names, "[OPTIONS]"])


def _parameter(parameter: Any) -> str:
    named = parameter.param_type_name == "option"
    names = [*parameter.opts, *parameter.secondary_opts] if named else [parameter.name.upper()]
    notes = [parameter.help or ""]
    default = parameter.default
    if not callable(default) and isinstance(default, str | int | Path) and not isinstance(default, bool):
        notes.append(f"Default: {default}.")
    if getattr(parameter, "envvar", None):
        notes.append(f"Environment: {parameter.envvar}.")
    return f"| {', '.join(f'`{n}`' for n in names)} | {' '.join(n for n in notes if n).replace('|', '/')} |"


def _section(path: str, command: Any) -> str:
    rows = [_parameter(p) for p in command.params if p.name != "help"]
    table = ["| | |", "| --- | --- |", *rows] if rows else []
    return "\n".join([f"### `{_usage(path, command)}`", "", (command.help or "").strip(), "", *table]).rstrip()


def _of_typer(parameter: Any) -> bool:
    """Help and shell completion, which every command line of this kind has."""
    return parameter.name in ("help", "install_completion", "show_completion")


def render() -> str:
    """The reference: one section per command, in the order of `ketools --help`."""
    root: Any = typer.main.get_command(app)
    everywhere = [_parameter(p) for p in root.params if p.param_type_name == "option" and not _of_typer(p)]
    head = "\n".join(["### Before every command", "", "| | |", "| --- | --- |", *everywhere])
    return "\n\n".join([head, *(_section(path, command) for path, command in _commands(root, "ketools"))])


def spliced(text: str) -> str:
    """The page with its generated part renewed."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{render()}\n\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Renew the page, or with `--check` only say whether it is current."""
    path = Path(arguments[0])
    old = path.read_text(encoding="utf-8")
    new = spliced(old)
    if "--check" in arguments:
        return int(old != new)
    path.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
