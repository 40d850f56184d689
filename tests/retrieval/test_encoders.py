"""The packaged sentence encoder, other directories, and embedding servers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ketools.core.errors import ModelError
from ketools.retrieval import EndpointEncoder, MiniLMEncoder, load_encoder

TEXTS = ["What is the capital of France?", "Paris is the seat of government of France.", "Bananas are yellow."]


@pytest.fixture(scope="module")
def encoder() -> MiniLMEncoder:
    return MiniLMEncoder(cache_size=4)


def test_rows_are_unit_vectors_in_the_order_of_the_texts(encoder: MiniLMEncoder) -> None:
    vectors = encoder.encode([TEXTS[0], TEXTS[2], TEXTS[0]])
    assert vectors.shape == (3, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_texts_of_one_meaning_are_nearer_than_others(encoder: MiniLMEncoder) -> None:
    question, statement, other = encoder.encode(TEXTS)
    assert question @ statement > 0.5 > question @ other


def test_dropped_from_the_cache_a_text_keeps_its_embedding(encoder: MiniLMEncoder) -> None:
    first = encoder.encode(TEXTS[:1])
    encoder.encode([f"filler {i}" for i in range(10)])
    np.testing.assert_allclose(encoder.encode(TEXTS[:1]), first, atol=1e-5)


def test_threads_get_the_vectors_of_their_own_texts(encoder: MiniLMEncoder) -> None:
    texts = [f"town number {i}" for i in range(12)]
    alone = np.concatenate([encoder.encode([t]) for t in texts])
    with ThreadPoolExecutor(4) as threads:
        together = np.concatenate(list(threads.map(lambda t: encoder.encode([t]), texts)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_texts_give_no_rows_without_loading_anything() -> None:
    assert len(MiniLMEncoder(Path("/nowhere")).encode([])) == 0


def test_a_directory_without_an_encoder_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"modules\.json"):
        MiniLMEncoder(tmp_path).encode(["text"])


# --- an embedding server ---


class EmbeddingServer(ThreadingHTTPServer):
    """`/v1/embeddings` over a real encoder; `failures`: statuses to answer first; `reply`: a body of its own."""

    def __init__(self, encoder: MiniLMEncoder) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.encoder, self.failures, self.reply = encoder, list[int](), b""
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: EmbeddingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append({"path": self.path, "auth": self.headers.get("Authorization", ""), **body})
        status = self.server.failures.pop(0) if self.server.failures else 200
        vectors = self.server.encoder.encode(body["input"]) * 3  # of any length
        rows = [{"index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)]
        answer = self.server.reply or json.dumps({"object": "list", "data": rows[::-1]}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(encoder: MiniLMEncoder) -> Iterator[EmbeddingServer]:
    with EmbeddingServer(encoder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_an_endpoint_gives_the_unit_vectors_of_its_model(server: EmbeddingServer, encoder: MiniLMEncoder) -> None:
    remote = EndpointEncoder(server.url, "minilm", "secret")
    np.testing.assert_allclose(remote.encode([TEXTS[1], TEXTS[0]]), encoder.encode([TEXTS[1], TEXTS[0]]), atol=1e-4)
    assert server.seen[0]["path"] == "/v1/embeddings"
    assert (server.seen[0]["model"], server.seen[0]["auth"]) == ("minilm", "Bearer secret")
    remote.encode(TEXTS[:2])
    assert len(server.seen) == 1, "what was embedded once is kept"
    remote.close()


def test_many_texts_go_in_several_requests(server: EmbeddingServer) -> None:
    remote = EndpointEncoder(server.url, "minilm")
    assert remote.encode([f"town {i}" for i in range(200)]).shape == (200, 384)
    assert [len(seen["input"]) for seen in server.seen] == [128, 72]
    remote.close()


def test_a_busy_endpoint_is_asked_again(server: EmbeddingServer) -> None:
    server.failures = [503, 429]
    remote = EndpointEncoder(server.url, "minilm")
    assert len(remote.encode(TEXTS)) == 3
    remote.close()


@pytest.mark.parametrize(
    ("statuses", "reply", "told"),
    [
        ([401], b"bad key", "401: bad key"),
        ([500, 500, 500], b"", "answered 500"),
        ([], b"<html>", "no list of embeddings"),
        ([], b'{"data": []}', "0 embeddings for 3 texts"),
        ([], json.dumps({"data": [{"index": i, "embedding": [0.0]} for i in range(3)]}).encode(), "zero"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_told(
    server: EmbeddingServer, statuses: list[int], reply: bytes, told: str
) -> None:
    server.failures, server.reply = statuses, reply
    remote = EndpointEncoder(server.url, "minilm")
    with pytest.raises(ModelError, match=f"{told}.*Start or repair it"):
        remote.encode(TEXTS)
    remote.close()


def test_an_endpoint_that_is_down_says_what_to_do(server: EmbeddingServer) -> None:
    url = server.url
    server.server_close()
    remote = EndpointEncoder(url, "minilm", timeout_s=1)
    with pytest.raises(ModelError, match=r"KETOOLS_ENCODER.*Edits and notes are safe"):
        remote.encode(TEXTS)
    remote.close()


def test_the_setting_chooses_the_encoder(tmp_path: Path) -> None:
    assert isinstance(load_encoder(), MiniLMEncoder)
    with pytest.raises(ModelError, match=str(tmp_path)):
        load_encoder(str(tmp_path)).encode(["text"])
    with pytest.raises(ModelError, match="KETOOLS_ENCODER_MODEL"):
        load_encoder("http://localhost:1/v1")
    assert isinstance(load_encoder("http://localhost:1/v1", "m"), EndpointEncoder)
