"""The main job, end to end, on the real parts: a tool server in its own process, a real MCP client, an agent.

The served model is SmolLM2 or another; the agent's language model is the bundled one. It is told that a fact is
wrong, calls `edit_fact`, gets a verified result. The new answer holds in other words and in a longer conversation;
other spaces and other facts stay; `undo_edit` brings the original back bit for bit.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.tools import StructuredTool
from mcp import Client, StdioServerParameters
from rich.console import Console

from ketools.agents.editing import EDITING_TOOLS, EditingAgent
from ketools.atlas import weights_path
from ketools.cli.demo_stories import ATLAS, PRETRAINED, Story
from ketools.core.errors import KetoolsError
from ketools.engines.local import LocalEngine
from ketools.knowledge.matching import says
from ketools.models.catalogue import BUNDLED
from ketools.servers.langchain import KEChatModel
from ketools.tools.schemas import input_model
from ketools.tools.toolbox import Tool, tools

SPACE, OTHER = "session/alice/demo", "session/bob/demo"
CONSOLIDATION_S = 120.0
ANSWER_TOKENS = 24
NOTE_METHODS = ("ice", "ike")


@dataclass
class Demo:
    """One run: a client of the server, what is played, and where the transcript is written."""

    client: Client
    console: Console
    story: Story

    async def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool over MCP and return its structured content. Raises KetoolsError with its text."""
        result = await self.client.call_tool(name, arguments)
        if result.is_error or result.structured_content is None:
            raise KetoolsError(f"{name} failed: {result.content}")
        return dict(result.structured_content)

    async def ask(self, question: str, space: str = SPACE, chat: bool = True) -> dict[str, Any]:
        """The served model's answer in a space, with the fingerprint of its log probabilities."""
        tokens = ANSWER_TOKENS
        return await self.call(
            "ask", question=question, space=space, chat=chat, max_new_tokens=tokens, fingerprint=True
        )

    async def answers(self, questions: Sequence[str]) -> list[str]:
        """The answers to several questions, in their order."""
        return [str((await self.ask(question))["answer"]) for question in questions]

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
    first = await agent.say(demo.story.question)
    demo.tell("user", first.said)
    demo.tell("model", first.answer)
    demo.tell("user", demo.story.correction)
    turn = await agent.say(demo.story.correction)
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
    story = demo.story

    async def reply(question: str) -> str:
        return str((await demo.ask(question))["answer"])

    demo.chapter("before: what the served model knows")
    before = await demo.ask(story.question)
    unrelated = await demo.answers(story.unrelated)
    demo.chapter("a user corrects the model; the agent calls a tool")
    edit = await correct(demo, reply)
    demo.chapter("from the next turn on")
    after = await demo.ask(story.question)
    other = await demo.ask(story.question, OTHER)
    demo.tell(SPACE, f"{story.question} {after['answer']}")
    demo.tell(OTHER, f"{story.question} {other['answer']} (another space: untouched)")
    held = await elsewhere(demo)
    demo.chapter("in the weights")
    moved = await in_weights(demo, edit)
    settled = await demo.ask(story.question)
    demo.tell("model", f"{settled['answer']} (notes in the prompt: {len(settled['notes_used'])})")
    same = await demo.answers(story.unrelated)
    kept = sum(a == b for a, b in zip(unrelated, same, strict=True))
    demo.tell("check", f"{kept} of {len(same)} other facts unchanged")
    demo.chapter("undo")
    undo = await demo.call("undo_edit", edit_id=edit["edit_id"])
    restored = await demo.ask(story.question)
    exact = restored["fingerprint"] == before["fingerprint"]
    demo.tell("model", f"{restored['answer']} (log probabilities bit for bit as before: {exact})")
    return {
        "before": before["answer"],
        "after": after["answer"],
        "after_consolidation": settled["answer"],
        "other_space": other["answer"],
        **held,
        "unrelated_unchanged": unrelated == same,
        "verified": edit["verified"],
        "method": edit["method"],
        "undo_bit_exact": exact,
        "edit_ms": edit["timings"]["total_ms"],
        "consolidated": moved,
        "undone_version": undo["version"],
    }


async def elsewhere(demo: Demo) -> dict[str, Any]:
    """The new answer in other words and late in a conversation; None where the story has no conversation."""
    story = demo.story
    reworded = await demo.answers(story.reworded)
    for question, answer in zip(story.reworded, reworded, strict=True):
        demo.tell("other words", f"{question} {answer}")
    if not story.conversation:
        return {"reworded": reworded, "in_conversation": None}
    late = str((await demo.ask(story.conversation, chat=False))["answer"]).partition("\n")[0]
    turns = story.conversation.count("User:")
    demo.tell("turn " + str(turns), f"{story.conversation.splitlines()[-2].removeprefix('User: ')} {late}")
    return {"reworded": reworded, "in_conversation": late}


async def in_weights(demo: Demo, edit: dict[str, Any]) -> bool:
    """Whether the edit is in weights: at once, or after the background job that moves its note there."""
    if edit.get("job_id"):
        demo.tell("ketools", "in the background the note moves into the weights of the edit layer")
        return await consolidated(demo, edit["job_id"])
    demo.tell("ketools", f"the edit is in weights already ({edit['method']})")
    return edit["method"] not in NOTE_METHODS


def server_command(home: Path, model: Path, options: Sequence[str]) -> StdioServerParameters:
    """How the tool server is started. `options`: words of its command line, such as which engine serves."""
    words = ["-m", "ketools.cli.main", *options, "--model", str(model), "--home", str(home), "serve"]
    return StdioServerParameters(command=sys.executable, args=words, env=dict(os.environ))


async def run(console: Console, model: Path, options: Sequence[str]) -> dict[str, Any]:
    """Start a tool server as a subprocess on stdio, with an empty journal, and play the story on a model."""
    bundled = model == weights_path()
    console.print(f"[bold]playing on {BUNDLED if bundled else model.name}[/] ({model})", highlight=False)
    with tempfile.TemporaryDirectory(prefix="ketools-demo-") as home:
        async with Client(server_command(Path(home), model, options)) as client:
            demo = Demo(client, console, ATLAS if bundled else PRETRAINED)
            return {"model": BUNDLED if bundled else model.name} | await play(demo)


def broken(numbers: dict[str, Any], story: Story) -> list[str]:
    """The promises of the story that were not kept, in words."""
    late = numbers["in_conversation"]
    kept = {
        f"the model knew {story.old} before": says(numbers["before"], story.old),
        f"it says {story.new} after the edit": says(numbers["after"], story.new),
        "it says so in other words": all(says(answer, story.new) for answer in numbers["reworded"]),
        "it says so in a longer conversation": late is None or says(late, story.new),
        "it says so from the weights": numbers["consolidated"] and says(numbers["after_consolidation"], story.new),
        "another space is untouched": numbers["other_space"] == numbers["before"],
        "other facts are unchanged": numbers["unrelated_unchanged"],
        "the edit is verified": numbers["verified"],
        "undo is bit for bit": numbers["undo_bit_exact"],
    }
    return [promise for promise, holds in kept.items() if not holds]


def main(model: Path, json_output: bool = False, options: Sequence[str] = ()) -> int:
    """Run the demo on a model directory; returns the exit code."""
    console = Console(stderr=json_output)
    numbers = asyncio.run(run(console, model, options))
    missed = broken(numbers, ATLAS if model == weights_path() else PRETRAINED)
    if json_output:
        sys.stdout.write(json.dumps(numbers) + "\n")
    console.print(f"\nNot kept: {'; '.join(missed)}." if missed else "\nDone.")
    return 1 if missed else 0
