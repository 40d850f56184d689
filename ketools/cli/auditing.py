"""`ketools audit`: who did what, when, through which client and why."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from ketools.cli.session import session


def audit(
    context: typer.Context,
    space: Annotated[str | None, typer.Option("--space", "-s", help="Only this space; default every one.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="From this local time on.")
    ] = None,
) -> None:
    """Export what happened as JSON lines: edits, versions, proposals and decisions, in the order of time."""
    from ketools.core.principals import OPERATOR

    with session(context).service() as service:
        for event in service.audit(OPERATOR, space, since.timestamp() if since else 0.0):
            print(json.dumps(event, ensure_ascii=False))
