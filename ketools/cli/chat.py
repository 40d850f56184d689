"""`ketools chat`: talk with the model; what it is to learn is asked first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ketools.cli.session import Json, Space, own_space, session, show_json

if TYPE_CHECKING:
    from ketools.agents.conversation import Conversation, Event, Planner


def chat(
    context: typer.Context,
    space: Space = None,
    llm: Annotated[
        str | None, typer.Option(help="Decides what is a correction: openai:MODEL or module:attribute; default rules.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Of an OpenAI-compatible server, for --llm.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Change without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Talk with the model; a correction becomes an edit once you have said yes. /help lists what else can be said."""
    from ketools.agents.conversation import Conversation

    planner = _planner(llm, base_url)
    with session(context).service() as service:
        conversation = Conversation(service, own_space(space), planner=planner, confirm=not yes)
        if not as_json:
            greet(conversation)
        talk(conversation, _lines(prompt=not as_json), _json if as_json else show)


def _planner(llm: str | None, base_url: str | None) -> Planner:
    """What decides which turn asks for a change: rules, or a language model."""
    if llm is None:
        from ketools.agents.intents import proposal

        return proposal
    from ketools.agents.llm import load_llm
    from ketools.agents.planning import planned_by

    return planned_by(load_llm(llm, base_url))


def greet(conversation: Conversation) -> None:
    """Say with whom one talks, and where."""
    print(f"{conversation.service.model_name} in the space {conversation.space}. /help lists commands, /exit leaves.")


def talk(conversation: Conversation, lines: Iterable[str], tell: Callable[[str, Iterator[Event]], None]) -> None:
    """Take line after line until the conversation has ended; `tell` shows what a line brings."""
    for text in lines:
        tell(text, conversation.say(text))
        if conversation.ended:
            return


def _lines(prompt: bool) -> Iterator[str]:
    while True:
        try:
            text = input("you> " if prompt and sys.stdin.isatty() else "").strip()
        except (EOFError, KeyboardInterrupt):
            if prompt and sys.stdin.isatty():
                print()
            return
        if text:
            yield text


def show(text: str, events: Iterator[Event]) -> None:
    """Show events as they come; Ctrl-C ends an answer, not the conversation."""
    from ketools.agents.conversation import Piece

    speaking = False
    try:
        for event in events:
            if isinstance(event, Piece):
                print(event.text if speaking else f"model> {event.text}", end="", flush=True)
            else:
                print(f"{chr(10) if speaking else ''}{event.text}", flush=True)
            speaking = isinstance(event, Piece)
    except KeyboardInterrupt:
        print("\n(stopped)" if speaking else "(stopped)", flush=True)
        speaking = False
    if speaking:
        print(flush=True)


def _json(text: str, events: Iterator[Event]) -> None:
    """A turn as a JSON object: what was said, answered, asked, changed."""
    from ketools.agents.conversation import Changed, Notice, Piece, Question

    found = list(events)
    proposals = [event.proposal for event in found if isinstance(event, Question | Changed)]
    show_json(
        {
            "said": text,
            "answer": "".join(event.text for event in found if isinstance(event, Piece)),
            "notices": [event.text for event in found if isinstance(event, Notice)],
            "asked": next((event.text for event in found if isinstance(event, Question)), None),
            "changed": next((event.text for event in found if isinstance(event, Changed)), None),
            "calls": [{"name": one.tool, "arguments": one.arguments} for one in proposals],
        }
    )
