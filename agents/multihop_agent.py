"""Ask questions of several hops over what was edited, and watch the chain.

    python agents/multihop_agent.py "What is the capital of the country of citizenship of Martin Nilsen?"
    python agents/multihop_agent.py --agent mello --space user/alice "..."
    python agents/multihop_agent.py --llm openai:gpt-4o-mini "..."       # another model takes questions apart

Without a question, lines from standard input are questions; an empty line ends.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from ketools.agents.llm import load_llm
from ketools.agents.multihop import MultihopAgent
from ketools.core.errors import KetoolsError
from ketools.multihop import AGENTS, Event, Finished
from ketools.service.opening import open_service
from ketools.service.settings import Settings


def shown(event: Event) -> str:
    """One line about a step."""
    return f"{'=>' if isinstance(event, Finished) else ' '} {event.line()}"


def answer(agent: MultihopAgent, questions: Iterable[str]) -> None:
    """Show the chain of each question as it grows."""
    for question in questions:
        for event in agent.stream(question):
            print(shown(event), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Answer; returns the exit code."""
    parser = argparse.ArgumentParser(description="Ask questions of several hops over edited facts.")
    parser.add_argument("question", nargs="*", help="default: lines of standard input")
    parser.add_argument("--agent", choices=AGENTS, default="auto")
    parser.add_argument("--space", help="whose knowledge; default user/local")
    parser.add_argument("--llm", help="openai:MODEL or module:attribute; default the served model itself")
    parser.add_argument("--base-url", help="of an OpenAI-compatible server")
    parser.add_argument("--home", type=Path, help="journal and artefacts")
    given = parser.parse_args(arguments)
    try:
        settings = Settings(home=given.home) if given.home else Settings()
        with contextlib.closing(open_service(settings)) as service:
            llm = load_llm(given.llm, given.base_url) if given.llm else None
            agent = MultihopAgent.over(service, given.space, given.agent, llm)
            answer(agent, given.question or iter(lambda: sys.stdin.readline().strip(), ""))
    except KetoolsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
