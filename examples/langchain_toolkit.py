"""Give the editing tools to any LangChain agent."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from ketools.servers.langchain import KEToolkit
from ketools.service.opening import open_service
from ketools.service.settings import Settings


def main() -> str:
    """Call one tool as an agent does; returns what the agent reads."""
    with tempfile.TemporaryDirectory() as home, closing(open_service(Settings(home=Path(home)))) as service:
        tools = {tool.name: tool for tool in KEToolkit(service).get_tools()}
        fact = {"subject": "Japan", "prompt": "The capital of Japan is", "target_new": "Oslo"}
        edit = tools["edit_fact"].invoke({**fact, "space": "session/1", "method": "ice"})
        answer = tools["ask"].invoke({"question": "What is the capital of Japan?", "space": "session/1"})
        return f"{edit}\n{answer}"


if __name__ == "__main__":
    print(main())
