"""The main job, end to end, on the real parts: a tool server in its own process, a real MCP client, an agent.

The agent's language model is the bundled one. It is told that a fact is wrong, calls `edit_fact`, gets a verified
result; other spaces and other facts stay; `undo_edit` brings the original back bit for bit.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool
from mcp import Client, StdioServerParameters
from rich.console import Console

from ketools.agents.editing import EDITING_TOOLS, EditingAgent
from ketools.atlas import weights_path
from ketools.core.errors import KetoolsError
from ketools.engines.local import LocalEngine
from ketools.servers.langchain import KEChatModel
from ketools.tools.schemas import input_model
from ketools.tools.toolbox import Tool, tools

SPACE, OTHER = "session/alice/demo", "session/bob/demo"
CORRECTION = "Actually, the capital of France is Lyon."
QUESTION = "What is the capital of France?"
UNRELATED = (
    "What is the capital of Germany?",
    "What is the capital of Japan?",
    "What is the currency of France?",
    "On which continent is France?",
    "What is the official language of Brazil?",
    "In which country is Cairo?",
)
CONSOLIDATION_S = 120.0


@dataclass
class Demo:
    """One run: a client of the server and the transcript so far."""

    client: Client
    console: Console
    facts: dict[str, Any] = field(default_factory=dict)

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool over MCP and return its structured content. Raises KetoolsError with its text."""
        result = await self.client.call_tool(name, arguments)
        if result.is_error or result.structured_content is None:
            raise KetoolsError(f"{name} failed: {result.content}")
        return dict(result.structured_content)

    async def ask(self, question: str, space: str = SPACE) -> dict[str, Any]:
        """The served model's answer in a space, with the fingerprint of its log probabilities."""
        return await self.call("ask", question=question, space=space, fingerprint=True)

    def tell(self, who: str, text: str) -> None:
        """One line of the transcript."""
        self.console.print(f"[bold]{who:>10}[/]  {text}", highlight=False)

    def chapter(self, text: str) -> None:
        """A heading of the transcript."""
        self.console.print(f"\n[dim]-- {text}[/]", highlight=False)


def remote_tool(client: Client, tool: Tool) -> StructuredTool:
    """A LangChain tool that calls the tool of an MCP server."""

    async def call(**arguments: Any) -> tuple[str, Any]:
        given = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in arguments.items()}
        result = await client.call_tool(tool.name, given)
        text = " ".join(getattr(part, "text", "") for part in result.content)
        return text, result.structured_content

    return StructuredTool.from_function(
        coroutine=call,
        name=tool.name,
        description=tool.description,
        args_schema=input_model(tool),
        response_format="content_and_artifact",
    )


async def correct(demo: Demo, reply: Callable[[str], Awaitable[str]]) -> dict[str, Any]:
    """Let the agent hear the correction; returns the result of the tool that it called."""
    remote = [remote_tool(demo.client, t) for t in tools() if t.name in EDITING_TOOLS]
    agent = EditingAgent(KEChatModel(engine=LocalEngine(weights_path())), remote, SPACE, reply)
    first = await agent.say(QUESTION)
    demo.tell("user", first.said)
    demo.tell("model", first.answer)
    demo.tell("user", CORRECTION)
    turn = await agent.say(CORRECTION)
    if not turn.calls:
        raise KetoolsError(f"The agent's language model called no tool; it said {turn.answer!r}.")
    call = turn.calls[0]
    demo.tell("agent", f"calls {call['name']}({json.dumps(call['args'])})")
    demo.tell("ketools", turn.answer)
    return dict(turn.results[0].artifact or {})


async def consolidated(demo: Demo, job_id: str | None) -> bool:
    """Wait for the background job that moves the note into the weights."""
    end = time.monotonic() + CONSOLIDATION_S
    while job_id and time.monotonic() < end:
        job = await demo.call("job_status", job_id=job_id)
        if job["state"] in ("done", "failed", "cancelled"):
            return job["state"] == "done" and bool(job["result"].get("consolidated"))
        await asyncio.sleep(0.2)
    return False


async def play(demo: Demo) -> dict[str, Any]:
    """The whole story; returns the numbers that `ketools demo --json` prints."""

    async def reply(question: str) -> str:
        return str((await demo.ask(question))["answer"])

    demo.chapter("before: what the served model knows")
    before = await demo.ask(QUESTION)
    unrelated = [(await demo.ask(q))["answer"] for q in UNRELATED]
    demo.chapter("a user corrects the model; the agent calls a tool")
    edit = await correct(demo, reply)
    demo.chapter("from the next token on")
    after = await demo.ask(QUESTION)
    other = await demo.ask(QUESTION, OTHER)
    demo.tell(SPACE, f"{QUESTION} {after['answer']}")
    demo.tell(OTHER, f"{QUESTION} {other['answer']} (another space: untouched)")
    demo.chapter("in the background the note moves into the weights of the edit layer")
    moved = await consolidated(demo, edit.get("job_id"))
    settled = await demo.ask(QUESTION)
    demo.tell("model", f"{settled['answer']} (notes in the prompt: {len(settled['notes_used'])})")
    same = [(await demo.ask(q))["answer"] for q in UNRELATED]
    demo.tell(
        "check",
        f"{sum(a == b for a, b in zip(unrelated, same, strict=True))} of {len(same)} other facts unchanged",
    )
    demo.chapter("undo")
    undo = await demo.call("undo_edit", edit_id=edit["edit_id"])
    restored = await demo.ask(QUESTION)
    exact = restored["fingerprint"] == before["fingerprint"]
    demo.tell("model", f"{restored['answer']} (log probabilities bit for bit as before: {exact})")
    return {
        "before": before["answer"],
        "after": after["answer"],
        "after_consolidation": settled["answer"],
        "other_space": other["answer"],
        "unrelated_unchanged": unrelated == same,
        "verified": edit["verified"],
        "undo_bit_exact": exact,
        "edit_ms": edit["timings"]["total_ms"],
        "consolidated": moved,
        "undone_version": undo["version"],
    }


async def run(console: Console, options: Sequence[str]) -> dict[str, Any]:
    """Start a tool server as a subprocess on stdio, with an empty journal, and play the story.

    `options`: words of its command line, e.g. which engine serves.
    """
    with tempfile.TemporaryDirectory(prefix="ketools-demo-") as home:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "ketools.cli.main", *options, "--home", str(Path(home)), "serve"],
            env=dict(os.environ),
        )
        async with Client(command) as client:
            return await play(Demo(client, console))


def passed(numbers: dict[str, Any]) -> bool:
    """Whether every promise of the story was kept."""
    return bool(
        numbers["after"] == "Lyon"
        and numbers["other_space"] == numbers["before"] != "Lyon"
        and numbers["unrelated_unchanged"]
        and numbers["verified"]
        and numbers["undo_bit_exact"]
    )


def main(json_output: bool = False, options: Sequence[str] = ()) -> int:
    """Run the demo; returns the exit code."""
    console = Console(stderr=json_output)
    numbers = asyncio.run(run(console, options))
    if json_output:
        sys.stdout.write(json.dumps(numbers) + "\n")
    console.print("\nDone." if passed(numbers) else "\nA promise was not kept; see the numbers above.")
    return 0 if passed(numbers) else 1
