"""Talk to a model that learns from you: correct it, ask it to forget, wish for another manner.

    python agents/editing_agent.py                                  # the bundled model serves and decides
    python agents/editing_agent.py --llm openai:gpt-4o-mini         # another model decides which tool to call
    python agents/editing_agent.py --llm my_package.models:make_llm

Lines from standard input are the user's turns; an empty line ends the conversation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from ketools.agents.editing import EditingAgent
from ketools.agents.llm import load_llm
from ketools.core.errors import KetoolsError
from ketools.core.principals import OPERATOR
from ketools.servers.langchain import KEChatModel, KEToolkit
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings


def turns() -> Iterator[str]:
    """The user's turns; a prompt is shown only to a person."""
    while True:
        if sys.stdin.isatty():
            print("you> ", end="", flush=True)
        line = sys.stdin.readline().strip()
        if not line:
            return
        yield line


def make_agent(service: EditService, space: str, llm: str | None, base_url: str | None) -> EditingAgent:
    """The agent of one space: ordinary turns are answered by the served model as it is there."""
    served = KEChatModel(service=service, space=space)
    if llm is None:
        return EditingAgent(served, KEToolkit(service).get_tools(), space)

    async def reply(text: str) -> str:
        return service.asking.ask(OPERATOR, text, space).answer

    return EditingAgent(load_llm(llm, base_url), KEToolkit(service).get_tools(), space, reply)


async def converse(agent: EditingAgent) -> None:
    """Answer turn by turn, showing the tools that were called."""
    for text in turns():
        turn = await agent.say(text)
        for call in turn.calls:
            print(f"  [{call['name']} {call['args']}]")
        print(f"model> {turn.answer}")


def main(arguments: list[str] | None = None) -> int:
    """Run the conversation; returns the exit code."""
    parser = argparse.ArgumentParser(description="Talk to a model that learns from you.")
    parser.add_argument("--space", default="session/agent", help="whose knowledge to change")
    parser.add_argument("--llm", help="openai:MODEL or module:attribute; default the served model itself")
    parser.add_argument("--base-url", help="of an OpenAI-compatible server")
    parser.add_argument("--home", type=Path, help="journal and artefacts")
    given = parser.parse_args(arguments)
    try:
        settings = Settings(home=given.home) if given.home else Settings()
        with contextlib.closing(open_service(settings)) as service:
            asyncio.run(converse(make_agent(service, given.space, given.llm, given.base_url)))
    except KetoolsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
