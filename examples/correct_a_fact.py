"""Correct a fact for one user, see that only that user's model knows it, and take it back."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from ketools.core.principals import OPERATOR
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.tools.toolbox import Toolbox

QUESTION = "What is the capital of France?"


def main() -> list[str]:
    """Return what the model says: before, after, to somebody else, and after the undo."""
    with tempfile.TemporaryDirectory() as home, closing(open_service(Settings(home=Path(home)))) as service:
        tools = Toolbox(service, OPERATOR)
        said = [tools.ask(QUESTION, "user/alice").answer]
        edit = tools.edit_fact("France", "The capital of France is", "Lyon", space="user/alice")
        print(edit.line())
        said += [tools.ask(QUESTION, "user/alice").answer, tools.ask(QUESTION, "user/bob").answer]
        tools.undo_edit(str(edit.edit_id))
        said.append(tools.ask(QUESTION, "user/alice").answer)
        return said


if __name__ == "__main__":
    print(main())
