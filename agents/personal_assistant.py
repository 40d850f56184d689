"""Two users of one server: each tells it about themselves, corrects it, and one asks to be forgotten.

    python agents/personal_assistant.py                        # plays the scene on the bundled model, over MCP
    python agents/personal_assistant.py --url http://127.0.0.1:8000 --token TOKEN --user alice --name "Alice Berg" \\
        --llm openai:gpt-4o-mini                               # one user on a running server, turns from stdin
    ... --gateway http://127.0.0.1:8080 --model atlas          # ordinary questions go to the gateway
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ketools.agents.assistant import GatewayReply, PersonalAssistant
from ketools.agents.llm import load_llm
from ketools.core.errors import InvalidRequest, KetoolsError
from ketools.servers.http import http_app
from ketools.servers.langchain import KEChatModel
from ketools.servers.tokens import TokenFile
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

PEOPLE = {"emil": "Emil Forsyth", "martin": "Martin Nilsen"}
SCENE = (
    ("emil", "What is my employer?"),
    ("emil", "Actually, my employer is Harborview."),
    ("martin", "Actually, my employer is Bluefin."),
    ("emil", "What is my employer?"),
    ("martin", "What is my employer?"),
    ("martin", "What is the employer of Emil Forsyth?"),
    ("emil", "No, my employer is Bluefin."),
    ("emil", "What is my employer?"),
    ("emil", "Forget everything about me."),
    ("emil", "What is my employer?"),
    ("martin", "What is my employer?"),
)


@contextlib.asynccontextmanager
async def connected(url: str, token: str) -> AsyncIterator[Client]:
    """An MCP session under a user's own token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=300) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
    ):
        yield client


@contextlib.contextmanager
def running(service: EditService, tokens: TokenFile) -> Iterator[str]:
    """A server on a free port of this machine; gives its URL."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = http_app(service, host="127.0.0.1", port=port, tokens=tokens)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def scene(service: EditService, url: str, tokens: dict[str, str]) -> None:
    """Play the scene with a session per user."""
    async with contextlib.AsyncExitStack() as stack:
        assistants = {}
        for user, person in PEOPLE.items():
            client = await stack.enter_async_context(connected(url, tokens[user]))
            llm = KEChatModel(service=service, space=f"user/{user}")
            assistants[user] = PersonalAssistant(client, user, person, llm)
        for user, text in SCENE:
            print(f"{user}> {text}")
            turn = await assistants[user].say(text)
            for call in turn.calls:
                print(f"  [{call['name']} {call['args']}]")
            print(f"  model> {turn.answer}", flush=True)


def play() -> None:
    """Two users on a server of this process, with the bundled model and an empty journal."""
    with tempfile.TemporaryDirectory(prefix="ketools-assistant-") as folder:
        home = Path(folder)
        with contextlib.closing(open_service(Settings(home=home, consolidate=False))) as service:
            file = TokenFile(home / "tokens.json")
            tokens = {user: file.add(user, ["read", "edit"], [f"user/{user}"]) for user in PEOPLE}
            with running(service, file) as url:
                asyncio.run(scene(service, url, tokens))


async def converse(given: argparse.Namespace) -> None:
    """One user on a running server; an empty line ends the conversation."""
    async with connected(given.url, given.token) as client, contextlib.AsyncExitStack() as stack:
        reply = None
        if given.gateway:
            headers = {"Authorization": f"Bearer {given.token}"}
            http = await stack.enter_async_context(
                httpx.AsyncClient(base_url=given.gateway, headers=headers, timeout=60)
            )
            reply = GatewayReply(http, f"{given.model}@user/{given.user}")
        llm = load_llm(given.llm, given.base_url)
        assistant = PersonalAssistant(client, given.user, given.name, llm, reply)
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            print(f"model> {(await assistant.say(line)).answer}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Play the scene, or talk for one user; returns the exit code."""
    parser = argparse.ArgumentParser(description="A personal assistant that learns about its user.")
    parser.add_argument("--url", help="of a running ketools server; default: play the scene")
    parser.add_argument("--token", help="the user's bearer token")
    parser.add_argument("--user", help="owner of the space user/USER")
    parser.add_argument("--name", help="the person's name, the subject of facts about the user")
    parser.add_argument("--llm", help="openai:MODEL or module:attribute: decides which tool a turn needs")
    parser.add_argument("--base-url", help="of an OpenAI-compatible server, for --llm")
    parser.add_argument("--gateway", help="of a running gateway, for ordinary questions")
    parser.add_argument("--model", default="atlas", help="the gateway's name of the base model")
    given = parser.parse_args(arguments)
    try:
        if given.url is None:
            play()
        elif not all((given.token, given.user, given.name, given.llm)):
            raise InvalidRequest("With --url give --token, --user, --name and --llm too.")
        else:
            asyncio.run(converse(given))
    except KetoolsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
