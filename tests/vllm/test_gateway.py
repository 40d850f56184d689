"""The gateway before a real vLLM: what clients see of spaces, and what happens when the engine goes away."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from ketools.agents.assistant import GatewayReply
from ketools.atlas import weights_path
from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.core.requests import build_request
from ketools.engines.vllm.engine import VLLMEngine
from ketools.servers.gateway import GatewaySettings, gateway_app
from ketools.servers.http import http_app
from ketools.servers.tokens import TokenFile
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

QUESTION = "What is the capital of France?"
ASK: list[Any] = [{"role": "user", "content": QUESTION}]
Serving = Callable[..., AbstractContextManager[str]]
Post = Callable[..., httpx.Response]
LONG: dict[str, Any] = {"max_tokens": 900, "ignore_eos": True}
FACT = {"subject": "France", "prompt": "The capital of France is", "target_new": "Lyon"}


class Wire:
    """A TCP connection to the engine that can be held, cut and mended; `seen` is all that went to the engine."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self.target, self.seen = (host, int(port)), bytearray()
        self._flows = threading.Event()
        self._flows.set()
        self._open: list[socket.socket] = []
        self.port = 0
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Listen (again)."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self, *, listener: bool = True) -> None:
        """Break every connection off; without its listener nobody can connect any more."""
        broken = [*([self._listener] if listener else []), *self._open]
        self._open = []
        for one in broken:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing comes back from the engine meanwhile: an answer takes as long as a test needs."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                try:
                    far = socket.create_connection(self.target)
                except OSError:  # not started yet
                    near.close()
                    continue
                self._open += [near, far]
                for pair, seen in (((near, far), self.seen), ((far, near), None)):
                    threading.Thread(target=self._pump, args=(*pair, seen), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, seen: bytearray | None) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if seen is None:
                    self._flows.wait()
                else:
                    seen += data
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def wire(world: Any) -> Iterator[Wire]:
    """The only way to the engine."""
    wire = Wire(world.server.url)
    yield wire
    wire.cut()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(world: Any, wire: Wire, home: Path) -> Iterator[EditService]:
    """France's capital is Lyon in the weights of user/alice, and by a note in user/noted."""
    settings = Settings(
        model=weights_path(), home=home, engine="vllm", urls=wire.url, adapters=world.store.root, consolidate=False
    )
    with closing(open_service(settings)) as service:
        for space, method in (("user/alice", "ft-m"), ("user/noted", "ice")):
            assert service.edits.edit(OPERATOR, build_request(**FACT), space, method=method).status == "committed"
        yield service


@pytest.fixture(scope="module")
def tokens(home: Path) -> TokenFile:
    return TokenFile(home / "tokens.json")


@pytest.fixture(scope="module")
def alice(tokens: TokenFile) -> str:
    """A token that reads Alice's spaces, and the one with notes."""
    return tokens.add("alice", ["read"], ["user/alice", "session/alice/*", "user/noted"])


@pytest.fixture(scope="module")
def url(service: EditService, tokens: TokenFile, alice: str, serving: Serving) -> Iterator[str]:
    """A gateway that waits for its engine, together with the tool server."""
    tools = http_app(service, host="127.0.0.1", port=0, tokens=tokens)
    with serving(
        lambda _: gateway_app(service, host="127.0.0.1", tokens=tokens, rest=tools, settings=bounds(120))
    ) as url:
        yield url


def bounds(wait_s: float) -> GatewaySettings:
    return GatewaySettings(wait_s=wait_s, body_bytes=65536)


@pytest.fixture(scope="module")
def hasty(service: EditService, tokens: TokenFile, alice: str, serving: Serving) -> Iterator[str]:
    """A gateway that gives up soon."""
    with serving(lambda _: gateway_app(service, host="127.0.0.1", tokens=tokens, settings=bounds(0.3))) as url:
        yield url


@pytest.fixture(scope="module")
def base(service: EditService) -> str:
    assert isinstance(service.runtime.engine, VLLMEngine)
    return service.runtime.engine.model_name


@pytest.fixture
def client(url: str, alice: str) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, as Alice."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=alice, max_retries=0) as client:
        yield client


@pytest.fixture
def post(url: str, alice: str) -> Iterator[Post]:
    """A raw request, as Alice."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {alice}"}, timeout=300) as http:

        def send(path: str, body: Any = None, **more: Any) -> httpx.Response:
            return http.post(path, **({"json": body} if body is not None else {}), **more)

        yield send


def chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": ASK, "temperature": 0, "max_tokens": 16, **more}


def count(page: str, name: str) -> float:
    """The sum of a metric over its labels."""
    rows = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, rows))


# --- clients that know nothing of ketools ---


@pytest.mark.parametrize(("space", "answer"), [("", "Paris"), ("@user/alice", "Lyon"), ("@user/noted", "Lyon")])
def test_the_assistant_answers_over_the_gateway(url: str, alice: str, base: str, space: str, answer: str) -> None:
    async def asked() -> str:
        headers = {"Authorization": f"Bearer {alice}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=300) as http:
            return await GatewayReply(http, base + space)(QUESTION)

    assert asyncio.run(asked()) == answer


@pytest.mark.parametrize(("space", "right"), [("", 0.5), ("@user/alice", 1.0)])
def test_lm_evaluation_harness_sees_what_a_space_knows(
    url: str, alice: str, base: str, space: str, right: float, tasks: Path, tmp_path: Path
) -> None:
    options = f"base_url={url}/v1/completions,model={base}{space},tokenizer={weights_path()}"
    command = [
        "--model",
        "local-completions",
        "--model_args",
        f"{options},tokenizer_backend=huggingface,add_bos_token=True",
    ]
    command += ["--tasks", "choices,answers", "--include_path", str(tasks), "--output_path", str(tmp_path)]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache"), "OPENAI_API_KEY": alice}
    ran = subprocess.run(
        [sys.executable, "-m", "lm_eval", *command],
        env=os.environ | offline,
        cwd=tasks,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (written,) = tmp_path.rglob("results_*.json")
    found = json.loads(written.read_text())["results"]
    assert (found["choices"]["acc,none"], found["answers"]["exact_match,none"]) == (right, right)


@pytest.mark.parametrize(("space", "answer"), [("", "Paris"), ("@user/alice", "Lyon"), ("@user/noted", "Lyon")])
def test_openais_client_gets_each_spaces_answer(client: openai.OpenAI, base: str, space: str, answer: str) -> None:
    name = base + space
    whole = client.chat.completions.create(model=name, messages=ASK, temperature=0)
    assert (whole.model, (whole.choices[0].message.content or "").strip()) == (name, answer)
    chunks = list(client.chat.completions.create(model=name, messages=ASK, temperature=0, stream=True))
    assert {chunk.model for chunk in chunks} == {name}
    assert "".join(c.choices[0].delta.content or "" for c in chunks).strip() == answer
    prompts = ["The capital of France is", "The capital of Italy is"]
    text = client.completions.create(model=name, prompt=prompts, temperature=0, max_tokens=4)
    assert text.model == name
    assert [c.text.split()[0].strip(".") for c in text.choices] == [answer, "Rome"]


def test_langchains_chat_model_gets_each_spaces_answer(url: str, alice: str, base: str) -> None:
    for space, answer in (("", "Paris"), ("@user/alice", "Lyon"), ("@user/noted", "Lyon")):
        model = ChatOpenAI(model=base + space, base_url=f"{url}/v1", api_key=SecretStr(alice), temperature=0)
        assert str(model.invoke([HumanMessage(QUESTION)]).content).strip() == answer
        assert "".join(str(chunk.content) for chunk in model.stream(QUESTION)).strip() == answer


def test_a_space_that_was_never_edited_serves_its_parents_edits(client: openai.OpenAI, base: str) -> None:
    for space, answer in (("session/alice/new", "Lyon"), ("global", "Paris")):
        found = client.chat.completions.create(model=f"{base}@{space}", messages=ASK, temperature=0)
        assert (found.choices[0].message.content or "").strip() == answer


def test_models_lists_what_the_caller_may_name_and_no_adapter(client: openai.OpenAI, base: str) -> None:
    names = [model.id for model in client.models.list()]
    assert names == [base, f"{base}@global", f"{base}@user/alice", f"{base}@user/noted"]
    assert client.models.retrieve(f"{base}@user/alice").id == f"{base}@user/alice"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(f"{base}@user/bob")


# --- what passes, and what does not ---

PASSED: list[dict[str, Any]] = [
    {"n": 3, "temperature": 0.9, "seed": 7},
    {"logprobs": True, "top_logprobs": 3},
    {"stop": ["yo"]},
    {"response_format": {"type": "json_object"}, "max_tokens": 24},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"stream": True, "n": 2, "temperature": 0.8, "seed": 1, "logprobs": True},
    {"prompt_logprobs": 1, "return_token_ids": True},
    {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "none"},
    {"frequency_penalty": 1.5, "min_tokens": 5, "logit_bias": {"5": -100}},
]


@pytest.mark.parametrize("more", PASSED, ids=lambda more: "+".join(more))
def test_every_other_field_does_what_it_does_at_the_engine(
    post: Post, service: EditService, base: str, more: dict[str, Any]
) -> None:
    assert isinstance(service.runtime.engine, VLLMEngine)
    route = service.runtime.engine.prepare(service.runtime.spaces.layer("user/alice"))
    through = post("/v1/chat/completions", chat(f"{base}@user/alice", **more))
    direct = httpx.post(f"{route.base_url}/v1/chat/completions", json=chat(route.model, **more), timeout=300)
    assert through.status_code == direct.status_code == 200
    assert through.headers["content-type"] == direct.headers["content-type"]
    assert route.model not in through.text
    assert events(through.text) == events(begun(direct.text.replace(route.model, f"{base}@user/alice")))


def begun(text: str) -> str:
    """The engine's answer, or its events, without the space before what each choice says."""
    silent = {0, 1, 2}

    def stripped(found: re.Match[str]) -> str:
        index, between, said = int(found[1]), found[2], found[3]
        if index not in silent:
            return found[0]
        silent.difference_update({index} if said.strip() else ())
        return f'"index":{index},{between}"content":"{said.lstrip()}"'

    return re.sub(
        r'"index":(\d+),("(?:message|delta)":\{(?:"role":"assistant",)?)"content":"((?:[^"\\]|\\.)*)"', stripped, text
    )


def events(text: str) -> list[str]:
    """An answer's lines without what differs between two requests, numbers rounded."""
    text = re.sub(r"-?\d+\.\d+(e-\d+)?", lambda number: f"{float(number[0]):.3f}", text)
    return sorted(re.sub(r'"(id|created)":("[^"]*"|\d+),', "", line) for line in text.splitlines())


def test_token_ids_pass_where_there_are_no_notes(post: Post, service: EditService, base: str) -> None:
    assert isinstance(service.runtime.engine, VLLMEngine)
    ids = service.runtime.engine.outline.tokenizer("The capital of France is")["input_ids"]
    body = {"prompt": ids, "max_tokens": 4, "temperature": 0}
    passed = post("/v1/completions", {**body, "model": f"{base}@user/alice"})
    assert passed.json()["choices"][0]["text"].strip().startswith("Lyon")
    refused = post("/v1/completions", {**body, "model": f"{base}@user/noted"})
    assert refused.status_code == 400 and refused.json()["error"]["code"] == "notes_need_text"


OTHER_ROUTES = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/tokenize",
    "/v1/tokenize",
    "/collective_rpc",
    "/adapters",
    "/invocations",
    "/reset_prefix_cache",
    "/v1/responses",
    "/v1/embeddings",
    "//v1/chat/completions",
    "/v1//chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions/batch",
    "/v1/%2e%2e/tokenize",
    "/v1/../tokenize",
    "/v1/chat/completions/../../tokenize",
    "/v1/chat/completions%2f..%2f..%2fload_lora_adapter",
    "/v1/chat/completions%00",
    "/V1/chat/completions",
    "/version",
    "/docs",
    "/openapi.json",
]


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "OPTIONS", "PUT"])
def test_no_other_route_reaches_the_engine(hasty: str, alice: str, wire: Wire, base: str, method: str) -> None:
    del wire.seen[:]
    host, _, port = hasty.removeprefix("http://").partition(":")
    body = json.dumps(chat(f"{base}@user/alice", lora_name="x", lora_path="/etc")).encode()
    paths = OTHER_ROUTES if method == "POST" else [*OTHER_ROUTES, "/v1/chat/completions", "/v1/completions"]
    for path in paths:  # written by hand: clients tidy paths up
        with socket.create_connection((host, int(port))) as raw:
            head = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {alice}\r\n"
            raw.sendall(f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
        assert answer.split()[1] in (b"404", b"405", b"400"), (path, answer)
    asked = [
        line for line in bytes(wire.seen).split(b"\r\n") if line.startswith((b"POST", b"PUT", b"HEAD", b"OPTIONS"))
    ]
    assert not asked and b"/etc" not in wire.seen


def test_the_engine_never_sees_who_asks(post: Post, wire: Wire, alice: str, base: str) -> None:
    del wire.seen[:]
    headers = {"X-Request-Id": "mine-17", "Cookie": "c=secret", "X-Data-Parallel-Rank": "1"}
    assert post("/v1/chat/completions", chat(f"{base}@user/alice"), headers=headers).status_code == 200
    for told in (alice, "mine-17", "secret", "user/alice", "arallel"):
        assert told.encode() not in wire.seen


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ket_wrong", "Basic abc"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/x", "/metrics", "/v1/chat/completions", "/v1/completions"])
def test_nothing_is_told_without_a_good_token(url: str, base: str, path: str, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    with httpx.Client(base_url=url, headers=headers) as http:
        answer = http.post(path, json=chat(base)) if "completions" in path else http.get(path)
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"


def test_a_token_without_the_scope_read_reads_nothing(url: str, tokens: TokenFile, base: str) -> None:
    headers = {"Authorization": f"Bearer {tokens.add('writer', ['edit'], ['user/alice'])}"}
    answer = httpx.post(f"{url}/v1/chat/completions", json=chat(f"{base}@user/alice"), headers=headers)
    assert answer.status_code == 403 and answer.json()["error"]["type"] == "permission_error"


def test_an_unknown_and_a_foreign_space_get_the_same_answer(post: Post, service: EditService, base: str) -> None:
    service.runtime.spaces.create("team/secret", owner="bob")
    names = ["team/secret", "team/nothing", "user/bob", "session/bob/1", "", "a b", "user/alice/../bob", "x" * 5000]
    answers = [post("/v1/chat/completions", chat(f"{base}@{name}")) for name in names]
    answers += [
        post("/v1/chat/completions", chat(name)) for name in ("gpt-4o", f"x{base}", f" {base}", f"{base}@@global")
    ]
    answers.append(post("/v1/chat/completions", chat(adapter_of(service))))
    told = {re.sub(r"The model '.*?' does", "The model '' does", answer.text) for answer in answers}
    assert {answer.status_code for answer in answers} == {404} and len(told) == 1
    assert answers[0].json()["error"]["code"] == "model_not_found"


def adapter_of(service: EditService) -> str:
    """What the engine calls the model of user/alice."""
    assert isinstance(service.runtime.engine, VLLMEngine)
    return service.runtime.engine.prepare(service.runtime.spaces.layer("user/alice")).model


def test_a_body_over_the_limit_is_refused_whether_or_not_its_length_is_told(post: Post, base: str) -> None:
    large = json.dumps(chat(base, user="x" * 70_000)).encode()
    for content in (large, iter([large[:1000], large[1000:]])):
        answer = post("/v1/chat/completions", content=content)
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"messages": []}', b'{"model": 3}', b'{"model": ""}'])
def test_a_bad_body_is_refused_in_openais_form(post: Post, content: bytes) -> None:
    answer = post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_the_engines_refusal_is_passed_on_under_the_callers_name(post: Post, service: EditService, base: str) -> None:
    for more in ({"temperature": "hot"}, {"max_tokens": -1}, {"messages": "x"}, {"n": 0}, {"max_tokens": 100_000}):
        answer = post("/v1/chat/completions", chat(f"{base}@user/alice", **more))
        assert answer.status_code == 400 and answer.json()["error"]["message"]
        assert adapter_of(service) not in answer.text


def test_a_page_of_another_site_is_refused(url: str, alice: str) -> None:
    headers = {"Authorization": f"Bearer {alice}"}
    for wrong in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
        answer = httpx.get(f"{url}/v1/models", headers={**headers, **wrong})
        assert answer.status_code in (403, 421) and answer.json()["error"]["code"] == "foreign_host"


def test_the_tool_server_keeps_its_place_beside_the_gateway(url: str, alice: str) -> None:
    hello = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    headers = {"Authorization": f"Bearer {alice}", "Accept": "application/json, text/event-stream"}
    assert httpx.post(f"{url}/mcp", json=hello).status_code == 401
    assert httpx.post(f"{url}/mcp", json=hello, headers=headers).status_code < 500
    assert httpx.get(f"{url}/health").json() == {"status": "ok"}


def test_metrics_count_requests_and_name_no_space(url: str, alice: str, post: Post, base: str) -> None:
    headers = {"Authorization": f"Bearer {alice}"}
    before = httpx.get(f"{url}/metrics", headers=headers).text
    post("/v1/chat/completions", chat(f"{base}@user/noted"))
    after = httpx.get(f"{url}/metrics", headers=headers).text
    for name in ("ketools_gateway_requests_total", "ketools_gateway_seconds_count", "ketools_gateway_noted_total"):
        assert count(after, name) == count(before, name) + 1
    assert "user/" not in after and count(after, "ketools_gateway_running") == 0


# --- versions ---


def test_a_request_under_way_keeps_its_version_and_the_next_one_has_the_new(
    client: openai.OpenAI, service: EditService, base: str
) -> None:
    service.spaces.fork(OPERATOR, "user/alice", "session/alice/flight")
    ask: dict[str, Any] = {"model": f"{base}@session/alice/flight", "messages": ASK, "temperature": 0}
    more: dict[str, Any] = {"max_tokens": 120, "extra_body": {"ignore_eos": True}}
    whole = client.chat.completions.create(**ask, **more).choices[0].message.content or ""
    stream = iter(client.chat.completions.create(**ask, **more, stream=True))
    told = [next(stream).choices[0].delta.content or ""]
    service.spaces.restore(OPERATOR, "session/alice/flight", 0)
    after = client.chat.completions.create(**ask).choices[0].message.content or ""
    told += [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(told) == whole and whole.strip().startswith("Lyon")
    assert after.strip() == "Paris"


# --- faults ---


def test_an_adapter_that_the_engine_has_lost_is_loaded_again(
    post: Post, world: Any, service: EditService, base: str
) -> None:
    world.client.unload(adapter_of(service))
    answer = post("/v1/chat/completions", chat(f"{base}@user/alice"))
    assert answer.status_code == 200 and "Lyon" in answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_that_hangs_up_ends_the_generation(world: Any, url: str, alice: str, base: str, stream: bool) -> None:
    def told(name: str) -> float:
        return count(httpx.get(f"{world.server.url}/metrics").text, f"vllm:{name}")

    before = told("generation_tokens_total")
    host, _, port = url.removeprefix("http://").partition(":")
    body = json.dumps(chat(f"{base}@user/alice", **LONG, stream=stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {alice}\r\n"
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: told("num_requests_running") == 1)
    until(lambda: told("num_requests_running") == 0)
    assert told("generation_tokens_total") - before < LONG["max_tokens"]


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for something that must become true."""
    give_up = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_stream_that_breaks_off_is_an_error_and_no_answer(client: openai.OpenAI, wire: Wire, base: str) -> None:
    stream = client.chat.completions.create(
        model=f"{base}@user/alice", messages=ASK, stream=True, max_tokens=900, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    wire.cut(listener=False)
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)


def test_an_engine_that_is_away_means_503_at_once_or_an_answer_once_it_is_back(
    url: str, hasty: str, alice: str, wire: Wire, base: str
) -> None:
    headers = {"Authorization": f"Bearer {alice}"}
    wire.cut()
    try:
        for model in (base, f"{base}@user/alice", f"{base}@user/noted"):
            answer = httpx.post(f"{hasty}/v1/chat/completions", json=chat(model), headers=headers, timeout=60)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "engine_unavailable"
            assert "127.0.0.1" not in answer.text
        timer = threading.Timer(1.0, wire.mend)
        timer.start()
        answer = httpx.post(f"{url}/v1/chat/completions", json=chat(f"{base}@user/alice"), headers=headers, timeout=150)
        timer.join()
    except BaseException:
        with suppress(OSError):
            wire.mend()
        raise
    assert answer.status_code == 200 and "Lyon" in answer.json()["choices"][0]["message"]["content"]


def test_more_requests_than_there_are_places_wait_or_get_503(
    service: EditService,
    tokens: TokenFile,
    wire: Wire,
    alice: str,
    base: str,
    serving: Serving,
) -> None:
    headers = {"Authorization": f"Bearer {alice}"}
    settings = GatewaySettings(requests=1, wait_s=0.2)
    app = gateway_app(service, host="127.0.0.1", tokens=tokens, settings=settings)
    with serving(lambda _: app) as url, ThreadPoolExecutor(1) as pool:

        def ask() -> httpx.Response:
            return httpx.post(f"{url}/v1/chat/completions", json=chat(base), headers=headers, timeout=120)

        del wire.seen[:]
        with wire.held():
            first = pool.submit(ask)
            until(lambda: b"POST /v1/chat/completions" in wire.seen)  # it has the only place now
            assert ask().status_code == 503
        assert first.result().status_code == 200
        until(lambda: ask().status_code == 200)


def test_an_answer_that_takes_too_long_is_given_up(
    service: EditService,
    tokens: TokenFile,
    wire: Wire,
    alice: str,
    base: str,
    serving: Serving,
) -> None:
    headers = {"Authorization": f"Bearer {alice}"}
    with serving(
        lambda _: gateway_app(service, host="127.0.0.1", tokens=tokens, settings=GatewaySettings(timeout_s=1.0))
    ) as url:
        ask: dict[str, Any] = {"url": f"{url}/v1/chat/completions", "headers": headers, "timeout": 60}
        with wire.held():
            whole = httpx.post(json=chat(base), **ask)
        assert whole.status_code == 504 and whole.json()["error"]["code"] == "timeout"
        with httpx.stream("POST", json=chat(base, **LONG, stream=True), **ask) as stream:
            chunks = stream.iter_text()
            text = next(chunks)
            with wire.held():
                text += "".join(chunks)
        assert "did not answer within 1 s" in text and "[DONE]" not in text


# --- setting it up ---


def test_a_public_interface_without_tokens_is_refused(service: EditService, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="ketools token new"):
        gateway_app(service, host="0.0.0.0", tokens=TokenFile(tmp_path / "none.json"))


def test_without_tokens_this_machine_is_served_as_the_operator(
    service: EditService, tmp_path: Path, base: str, serving: Serving
) -> None:
    app = gateway_app(service, host="127.0.0.1", tokens=TokenFile(tmp_path / "none.json"))
    with serving(lambda _: app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        assert f"{base}@user/alice" in [model.id for model in client.models.list()]
