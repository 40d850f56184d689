"""Connections that are not kept for nothing."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class ImpatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 that closes a connection whose request is not whole in time, the first one or a later one."""

    request_s = 30.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The time for the first request runs from now."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """The time for a further request runs from its first byte."""
        self._begin()
        super().data_received(data)

    def on_message_complete(self) -> None:
        """The request is whole, and may be answered for as long as it takes."""
        self._end()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more to wait for."""
        self._end()
        super().connection_lost(exc)

    def _begin(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.request_s, self.timeout_keep_alive_handler)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
