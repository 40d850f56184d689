"""Tells an address of what happens: committed versions, proposals and decisions, signed, on the side."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
import time
from collections.abc import Mapping
from typing import Any

import httpx

from ketools.core.errors import InvalidRequest

WAITING = 1000
"""How many events may wait to be sent; what comes then is dropped, and the log says so."""
TRIES, TIMEOUT_S, FAREWELL_S = 3, 5.0, 3.0
SIGNATURE = "X-Ketools-Signature"
log = logging.getLogger(__name__)


def sign(secret: str, at: int, body: bytes) -> str:
    """The signature header of a body: `t=TIME,v1=HMAC-SHA-256 of TIME.BODY`, in hex."""
    made = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={made}"


class Webhook:
    """Posts events from a thread of its own; nothing waits for it, and nothing fails because of it.

    Raises InvalidRequest for an address that is not http(s).
    """

    def __init__(self, url: str, secret: str) -> None:
        if httpx.URL(url).scheme not in ("http", "https"):
            raise InvalidRequest("KETOOLS_WEBHOOK_URL must begin with http:// or https://.")
        self._url, self._secret = url, secret
        self._events: queue.Queue[Mapping[str, Any] | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._run, name="ketools-webhook", daemon=True)
        self._thread.start()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Have an event sent; returns at once."""
        try:
            self._events.put_nowait(event)
        except queue.Full:
            log.warning("the webhook is too slow: an event of kind %s is not sent", event.get("event"))

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        try:
            self._events.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(FAREWELL_S)

    def _run(self) -> None:
        with httpx.Client(timeout=TIMEOUT_S) as http:
            while (event := self._events.get()) is not None:
                self._send(http, json.dumps(event, separators=(",", ":")).encode())

    def _send(self, http: httpx.Client, body: bytes) -> None:
        why = ""
        for _ in range(TRIES):
            headers = {"Content-Type": "application/json", SIGNATURE: sign(self._secret, int(time.time()), body)}
            try:
                answer = http.post(self._url, content=body, headers=headers)
            except httpx.HTTPError as error:
                why = type(error).__name__
                continue
            if answer.status_code < 500:
                return
            why = f"status {answer.status_code}"
        log.warning("the webhook did not take an event: %s", why)
