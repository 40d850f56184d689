"""The caller's name of a model in the engine's answers, in the place of the adapter's.

vLLM writes compact JSON, in which `"model":"<name>"` with bare quotes can only be a field: inside a string its
quotes would be escaped. So the bytes are exchanged, and no chunk is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, AsyncIterator

END = b"\n\n"
"""What ends a server-sent event."""


class Renaming:
    """From the engine's name of a model to the caller's."""

    def __init__(self, engine: str, caller: str) -> None:
        self.engine, self.caller = engine, caller
        self._old, self._new = _field(engine), _field(caller)

    def body(self, body: bytes) -> bytes:
        """A whole JSON answer, or whole events, with the caller's name."""
        return body.replace(self._old, self._new)

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
