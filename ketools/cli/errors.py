"""Errors at the command line: one clear line on stderr, exit code 1, or 2 for wrong usage."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from ketools.core.errors import KetoolsError


def fail(message: str, code: int = 1) -> NoReturn:
    """Say what is wrong on one line and leave."""
    sys.stderr.write("ketools: " + " ".join(message.split()) + "\n")
    raise typer.Exit(code)


def as_line(error: Exception) -> tuple[str, int]:
    """The line and the exit code for an error."""
    if isinstance(error, KetoolsError):
        return str(error), 1
    if type(error).__name__ == "ValidationError":  # pydantic is not imported for `--help`
        from pydantic import ValidationError

        from ketools.tools.schemas import explain

        if isinstance(error, ValidationError):
            return explain(error), 2
    return f"{type(error).__name__}: {error} (KETOOLS_DEBUG=1 shows where)", 1


class Group(TyperGroup):
    """A group of commands that never shows a traceback, unless KETOOLS_DEBUG asks for it."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if os.environ.get("KETOOLS_DEBUG"):
                raise
            fail(*as_line(error))
