"""Answers of an engine in this process in OpenAI's form: for a small deployment, without vLLM."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.types import Send

from ketools.engines.base import Speaker, Spoken
from ketools.layers.composition import EditLayer
from ketools.servers.gateway.asked import Asked, asked_of
from ketools.servers.gateway.errors import broken_off
from ketools.servers.gateway.relay import ChatRequest
from ketools.servers.tool_calls import calls_in, read_call, without_calls

AT_ONCE = 4
"""How many answers are computed side by side; others wait for their next token."""
CHAT_PATH = "/v1/chat/completions"
DONE = b"data: [DONE]\n\n"
HALF = "\ufffd"
"""What half a character decodes to."""


@dataclass
class Answer:
    """One answer under way: its tokens, its text so far, and how much of that was told."""

    engine: Speaker
    asked: Asked
    prompt_tokens: int
    spoken: list[Spoken] = field(default_factory=list)
    text: str = ""
    told: int = 0
    finish: str | None = None

    def hear(self, one: Spoken) -> None:
        """Take the next token."""
        if one.ends:
            self.finish = "stop"
            return
        self.spoken.append(one)
        raw = self.engine.text([s.token for s in self.spoken], special=bool(self.asked.tools))
        self.text = raw.lstrip() if self.asked.is_chat else raw
        places = [at for stop in self.asked.stops if (at := self.text.find(stop)) >= 0]
        if places:
            self.text, self.finish = self.text[: min(places)], "stop"

    def end(self) -> None:
        """No token comes any more."""
        self.finish = self.finish or "length"
        self.text = self.text.rstrip() if self.asked.is_chat else self.text

    def new(self) -> str:
        """What can be told now: not half a character, nor what may turn out to begin a stop or to end the answer."""
        ready = self.text
        if self.finish is None:
            if self.asked.tools:  # a call is told whole
                return ""
            held = max(map(len, self.asked.stops), default=1) - 1
            ready = self.text.rstrip(HALF).rstrip()
            ready = ready[: len(ready) - held] if held else ready
        piece = ready[self.told :]
        self.told = max(self.told, len(ready))
        return piece

    def message(self) -> dict[str, Any]:
        """The whole answer as an assistant's message."""
        calls = self._calls()
        if not calls:
            return {"role": "assistant", "content": self.text}
        self.finish = "tool_calls"
        return {"role": "assistant", "content": without_calls(self.text) or None, "tool_calls": calls}

    def _calls(self) -> list[dict[str, Any]]:
        """The tool calls that can be read; if one cannot, all stay text."""
        try:
            read = [read_call(body) for body in calls_in(self.text)] if self.asked.tools else []
        except ValueError:
            return []
        return [
            {
                "id": f"call_{uuid4().hex}",
                "type": "function",
                "function": {"name": one.name, "arguments": json.dumps(one.arguments, ensure_ascii=False)},
            }
            for one in read
        ]

    def logprobs(self, since: int = 0) -> dict[str, Any] | None:
        """The log probabilities of the tokens from the given one on, in OpenAI's form; None if nobody asked."""
        if self.asked.top is None:
            return None
        rows = [self._row(one) for one in self.spoken[since:]]
        if self.asked.is_chat:
            return {"content": rows, "refusal": None}
        texts = [row["token"] for row in rows]
        return {
            "tokens": texts,
            "token_logprobs": [row["logprob"] for row in rows],
            "top_logprobs": [{top["token"]: top["logprob"] for top in row["top_logprobs"]} for row in rows],
            "text_offset": [sum(map(len, texts[:i])) for i in range(len(texts))],
        }

    def _row(self, one: Spoken) -> dict[str, Any]:
        return {**self._token(one.token, one.logprob), "top_logprobs": [self._token(*top) for top in one.top]}

    def _token(self, token: int, logprob: float) -> dict[str, Any]:
        text = self.engine.text([token], special=True)
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


class InProcess:
    """Answers requests with an engine of this process; stands where `Relay` stands before vLLM."""

    def __init__(self, engine: Speaker) -> None:
        self.engine = engine
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Nothing has to be connected."""
        yield

    async def answer(self, ask: ChatRequest, send: Send) -> None:
        """Answer; what is wrong with the request is raised before the answer begins. Cancelling it stops the engine."""
        asked = asked_of(ask.body, ask.path == CHAT_PATH)
        answers = [await self._read(prompt, asked) for prompt in asked.prompts]
        if asked.stream:
            await self._stream(ask, asked, answers, send)
        else:
            await self._whole(ask, asked, answers, send)

    async def _read(self, prompt: Any, asked: Asked) -> tuple[list[int], Answer]:
        row = await anyio.to_thread.run_sync(self.engine.read, prompt, asked.tools, limiter=self._threads)
        return row, Answer(self.engine, asked, len(row))

    async def _hear(self, row: list[int], answer: Answer, layer: EditLayer) -> AsyncIterator[None]:
        """Take token after token; each in a thread, so that the caller's leaving is noticed in between."""
        asked = answer.asked
        most = asked.max_tokens or 2**20  # the engine stops where the model's window ends
        tokens = self.engine.speak(row, layer, max_new_tokens=most, top=asked.top or 0)
        while answer.finish is None:
            one = await anyio.to_thread.run_sync(next, tokens, None, limiter=self._threads)
            if one is None:
                break
            answer.hear(one)
            if answer.finish is None:
                yield
        answer.end()
        yield

    async def _whole(
        self, ask: ChatRequest, asked: Asked, answers: Sequence[tuple[list[int], Answer]], send: Send
    ) -> None:
        for row, answer in answers:
            async for _ in self._hear(row, answer, ask.layer):
                pass
        choices = [_choice(i, answer) for i, (_, answer) in enumerate(answers)]
        body = json.dumps({**_head(ask, asked), "choices": choices, "usage": _usage(answers)}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(
        self, ask: ChatRequest, asked: Asked, answers: Sequence[tuple[list[int], Answer]], send: Send
    ) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        head = _head(ask, asked, chunk=True)

        async def tell(choices: list[dict[str, Any]], **more: Any) -> None:
            event = f"data: {json.dumps({**head, 'choices': choices, **more})}\n\n".encode()
            await send({"type": "http.response.body", "body": event, "more_body": True})

        try:
            for i, (row, answer) in enumerate(answers):
                await self._tell_one(i, row, answer, ask.layer, tell)
            if asked.usage:
                await tell([], usage=_usage(answers))
            await send({"type": "http.response.body", "body": DONE, "more_body": True})
        except Exception:
            await send(broken_off("The engine failed in the middle of its answer; ask again."))
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await send({"type": "http.response.body", "body": b""})

    async def _tell_one(self, i: int, row: list[int], answer: Answer, layer: EditLayer, tell: Any) -> None:
        """One answer, piece by piece."""
        told = 0
        if answer.asked.is_chat:
            await tell([{"index": i, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])
        async for _ in self._hear(row, answer, layer):
            for piece in _pieces(answer):
                await tell([_part(i, answer, piece, told)])
                told = len(answer.spoken)
        await tell([_part(i, answer, {} if answer.asked.is_chat else {"text": ""}, told, finish=answer.finish)])


def _pieces(answer: Answer) -> Iterator[dict[str, Any]]:
    """What is new of an answer, as deltas."""
    if answer.asked.tools and answer.finish is not None:
        message = answer.message()
        if message.get("content"):
            yield {"content": message["content"]}
        if "tool_calls" in message:
            yield {"tool_calls": [{"index": k, **call} for k, call in enumerate(message["tool_calls"])]}
    elif piece := answer.new():
        yield {"content": piece} if answer.asked.is_chat else {"text": piece}


def _part(i: int, answer: Answer, piece: dict[str, Any], since: int, finish: str | None = None) -> dict[str, Any]:
    logprobs = answer.logprobs(since) if since < len(answer.spoken) else None
    said = {"delta": piece} if answer.asked.is_chat else piece
    return {"index": i, **said, "logprobs": logprobs, "finish_reason": finish}


def _choice(i: int, answer: Answer) -> dict[str, Any]:
    said = {"message": answer.message()} if answer.asked.is_chat else {"text": answer.text}
    return {"index": i, **said, "logprobs": answer.logprobs(), "finish_reason": answer.finish}


def _head(ask: ChatRequest, asked: Asked, chunk: bool = False) -> dict[str, Any]:
    kind = f"chat.completion{'.chunk' if chunk else ''}" if asked.is_chat else "text_completion"
    name = f"{'chatcmpl' if asked.is_chat else 'cmpl'}-{uuid4().hex}"
    return {"id": name, "object": kind, "created": int(time.time()), "model": ask.model}


def _usage(answers: Sequence[tuple[list[int], Answer]]) -> dict[str, int]:
    prompt = sum(answer.prompt_tokens for _, answer in answers)
    said = sum(len(answer.spoken) for _, answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
