"""The caller's name of a model in the engine's answers, in the place of the adapter's; no space before answers.

vLLM writes compact JSON, in which `"model":"<name>"` with bare quotes can only be a field: inside a string its
quotes would be escaped. So the bytes are exchanged, and no chunk is parsed but those with which answers begin.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator

END = b"\n\n"
"""What ends a server-sent event."""
_DATA, _CONTENT = b"data: ", b'"content":"'


class Renaming:
    """From the engine's name of a model to the caller's. `answers`: of how many the space before them is taken off."""

    def __init__(self, engine: str, caller: str, answers: int = 0) -> None:
        self.engine, self.caller = engine, caller
        self._old, self._new = _field(engine), _field(caller)
        self._silent = set(range(answers))

    def body(self, body: bytes) -> bytes:
        """A whole JSON answer, or whole events, with the caller's name."""
        if self._silent:
            events = body.split(END) if body.startswith(_DATA) else [body]
            body = END.join(map(self._begun, events))
        return body.replace(self._old, self._new)

    def _begun(self, event: bytes) -> bytes:
        """An event or a whole answer without the space before what begins in it."""
        lead = _DATA if event.startswith(_DATA) else b""
        if not self._silent or _CONTENT not in event:
            return event
        try:
            told = json.loads(event.removeprefix(lead))
            said = [(choice["index"], choice.get("delta") or choice.get("message")) for choice in told["choices"]]
        except (ValueError, KeyError, TypeError):
            return event
        for index, message in said:
            content = message.get("content") if message and index in self._silent else None
            if isinstance(content, str):
                message["content"] = content.lstrip()
                self._silent -= {index} if message["content"] else set()
        return lead + json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    def text(self, message: str) -> str:
        """An error's message with the caller's name, wherever the engine's stands by itself."""
        return re.sub(rf"(?<![\w@]){re.escape(self.engine)}(?![\w@])", lambda _: self.caller, message)

    async def events(self, chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """Server-sent events as they come, each whole, however the network cut them."""
        rest = b""
        async for chunk in chunks:
            block = rest + chunk
            whole = block.rfind(END) + len(END)
            if whole < len(END):
                rest = block
                continue
            rest = block[whole:]
            yield self.body(block[:whole])
        if rest:
            yield self.body(rest)


def _field(name: str) -> bytes:
    return b'"model":' + json.dumps(name, ensure_ascii=False).encode()
