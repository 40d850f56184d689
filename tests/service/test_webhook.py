"""A webhook is told what happens, signed, and never holds anybody up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import pytest
from pydantic import SecretStr

from ketools.core.errors import ApprovalNeeded, InvalidRequest
from ketools.core.principals import OPERATOR, agent_of
from ketools.models.editable import EditableModel
from ketools.service.opening import open_service
from ketools.service.settings import Settings
from ketools.service.webhook import SIGNATURE, Webhook, sign
from ketools.tools.toolbox import Toolbox

FRANCE = ("France", "The capital of France is", "Lyon")
SECRET = "s3cret"


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it; answers the first requests with an error, or none until it is let go."""

    def __init__(self, failing: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: Queue[tuple[str, bytes]] = Queue()
        self.failing, self.go = failing, threading.Event()
        self.go.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.go.wait(30)
        self.server.failing -= 1
        self.send_response(500 if self.server.failing >= 0 else 204)
        self.end_headers()
        if self.server.failing < 0:
            self.server.got.put((self.headers[SIGNATURE], body))

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.go.set()
    made.shutdown()
    made.server_close()


def test_a_webhook_is_told_of_versions_and_proposals_with_a_signature(
    atlas: EditableModel, tmp_path: Path, receiver: Receiver
) -> None:
    settings = Settings(home=tmp_path, consolidate=False, webhook_url=receiver.url, webhook_secret=SecretStr(SECRET))
    service = open_service(settings, atlas)
    Toolbox(service, OPERATOR).edit_fact(*FRANCE, method="ice")
    with pytest.raises(ApprovalNeeded):
        Toolbox(service, agent_of(OPERATOR, "tester 1")).edit_fact(*FRANCE, space="global", method="ice")
    service.close()
    events = [receiver.got.get(timeout=10) for _ in range(2)]
    assert [json.loads(body)["event"] for _, body in events] == ["version", "proposal"]
    assert json.loads(events[1][1])["client"] == "tester 1"
    for signature, body in events:
        at = int(signature.split(",")[0].removeprefix("t="))
        assert signature == sign(SECRET, at, body) and abs(time.time() - at) < 60


def test_an_event_is_sent_again_when_the_receiver_failed(receiver: Receiver) -> None:
    receiver.failing = 2
    hook = Webhook(receiver.url, SECRET)
    hook({"event": "version"})
    assert receiver.got.get(timeout=10)[1] == b'{"event":"version"}'
    hook.close()


def test_a_receiver_that_does_not_answer_or_is_not_there_holds_nobody_up(receiver: Receiver) -> None:
    receiver.go.clear()
    hook = Webhook(receiver.url, SECRET)
    start = time.monotonic()
    for _ in range(3000):
        hook({"event": "version"})
    assert time.monotonic() - start < 1
    receiver.go.set()
    gone = Webhook("http://127.0.0.1:9/", SECRET)
    gone({"event": "version"})
    gone.close()


def test_a_webhook_without_a_secret_or_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="KETOOLS_WEBHOOK_SECRET"):
        open_service(Settings(home=tmp_path, webhook_url="http://127.0.0.1:9/"))
    with pytest.raises(InvalidRequest, match="http"):
        open_service(Settings(home=tmp_path, webhook_url="ftp://x/", webhook_secret=SecretStr(SECRET)))
