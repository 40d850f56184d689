"""The gateway before the engine in this process, as OpenAI's own clients see it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from starlette.applications import Starlette

from ketools.atlas.world import world
from ketools.core.principals import OPERATOR
from ketools.core.requests import build_request
from ketools.servers.gateway import gateway_app
from ketools.servers.http import http_app
from ketools.servers.tokens import TokenFile
from ketools.service.service import EditService

QUESTION = "What is the capital of France?"
ASK: list[Any] = [{"role": "user", "content": QUESTION}]
PRIVATE = next(fact for fact in world().all_facts() if fact.relation == "telephone")
LONG: list[Any] = [{"role": "user", "content": f"What is the telephone number of {PRIVATE.subject}?"}]
TOOL: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "edit_fact",
            "description": "Make the model know a fact.",
            "parameters": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("subject", "prompt", "target_new")},
            },
        },
    }
]


@pytest.fixture(scope="module")
def http(
    service: EditService, home: Path, serving: Callable[..., AbstractContextManager[str]]
) -> Iterator[httpx.Client]:
    """The gateway with the tool server behind it, as `serve --gateway` builds them; Lyon in one space."""
    fact = build_request(subject="France", prompt="The capital of France is", target_new="Lyon")
    service.edits.edit(OPERATOR, fact, "user/alice", "ice")
    tokens = TokenFile(home / "none.json")

    def build(port: int) -> Starlette:
        rest = http_app(service, host="127.0.0.1", port=port, tokens=tokens)
        return gateway_app(service, host="127.0.0.1", tokens=tokens, rest=rest)

    with serving(build) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(http: httpx.Client) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{http.base_url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def ask(http: httpx.Client) -> Callable[..., Any]:
    """The answer to a chat request."""

    def post(**fields: Any) -> Any:
        return http.post("/v1/chat/completions", json={"model": "atlas", "messages": ASK, **fields})

    return post


def test_the_model_has_the_name_that_tools_tell(http: httpx.Client, service: EditService) -> None:
    listed = [card["id"] for card in http.get("/v1/models").json()["data"]]
    assert service.model_name == "atlas" and "atlas" in listed and "atlas@user/alice" in listed


@pytest.mark.parametrize(("model", "answer"), [("atlas", "Paris"), ("atlas@user/alice", "Lyon")])
def test_a_chat_is_answered_as_the_space_is_without_leading_space(
    ask: Callable[..., Any], model: str, answer: str
) -> None:
    told = ask(model=model, temperature=0).json()
    (choice,) = told["choices"]
    assert choice["message"] == {"role": "assistant", "content": answer} and choice["finish_reason"] == "stop"
    assert told["model"] == model and told["object"] == "chat.completion"
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]


def test_a_stream_says_the_same_in_pieces(http: httpx.Client, ask: Callable[..., Any]) -> None:
    body = {"messages": LONG, "max_tokens": 24}
    whole = ask(**body).json()["choices"][0]
    told = ask(**body, stream=True, stream_options={"include_usage": True})
    assert told.headers["content-type"].startswith("text/event-stream")
    *events, last = [line.removeprefix("data: ") for line in told.text.split("\n\n") if line]
    chunks = [json.loads(event) for event in events]
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    assert last == "[DONE]" and "".join(pieces) == whole["message"]["content"] and len(pieces) > 3
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == whole["finish_reason"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] > 0
    assert {chunk["id"] for chunk in chunks} == {chunks[0]["id"]}


def test_log_probabilities_are_those_of_the_engine(ask: Callable[..., Any], service: EditService) -> None:
    rows = ask(logprobs=True, top_logprobs=3).json()["choices"][0]["logprobs"]["content"]
    assert "".join(row["token"] for row in rows).strip() == "Paris"
    engine = service.runtime.engine
    scored = engine.score([tuple(ASK)], ["Paris"], service.asking.layer(OPERATOR, "global")[0])[0]
    assert [row["logprob"] for row in rows] == pytest.approx(list(scored.logprobs), abs=1e-3)
    for row in rows:
        assert len(row["top_logprobs"]) == 3 and row["top_logprobs"][0]["token"] == row["token"]
        assert bytes(row["bytes"]).decode() == row["token"]


def test_a_text_is_continued(http: httpx.Client) -> None:
    body = {"model": "atlas@user/alice", "prompt": "The capital of France is", "max_tokens": 4, "logprobs": 1}
    told = http.post("/v1/completions", json=body).json()
    assert told["object"] == "text_completion" and told["choices"][0]["text"].strip().startswith("Lyon")
    assert told["choices"][0]["logprobs"]["tokens"][0].strip() in "Lyon"
    two = http.post("/v1/completions", json={**body, "prompt": ["A", "B"]}).json()["choices"]
    assert [choice["index"] for choice in two] == [0, 1]


def test_a_stop_ends_the_answer_before_it(ask: Callable[..., Any]) -> None:
    for stream in (False, True):
        told = ask(stop=["ri", "zz"], stream=stream)
        if stream:
            events = [json.loads(line[6:]) for line in told.text.split("\n\n") if line.startswith("data: {")]
            text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
        else:
            text = told.json()["choices"][0]["message"]["content"]
        assert text == "Pa"


def test_an_answer_that_is_cut_says_so(ask: Callable[..., Any]) -> None:
    assert ask(messages=LONG, max_completion_tokens=2).json()["choices"][0]["finish_reason"] == "length"


def test_a_tool_call_comes_in_openais_form_whole_and_streamed(client: openai.OpenAI) -> None:
    said: list[Any] = [{"role": "user", "content": "No, the capital of France is Lyon."}]
    whole = client.chat.completions.create(model="atlas", messages=said, tools=TOOL)
    (call,) = whole.choices[0].message.tool_calls or []
    assert call.type == "function" and call.function.name == "edit_fact"
    assert json.loads(call.function.arguments)["target_new"] == "Lyon"
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(model="atlas", messages=said, tools=TOOL) as stream:
        final = stream.get_final_completion()
    (streamed,) = final.choices[0].message.tool_calls or []
    assert streamed.function.arguments == call.function.arguments
    back = [*said, whole.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "Done."}]
    assert (
        client.chat.completions.create(model="atlas", messages=back, tools=TOOL).choices[0].message.content is not None
    )


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 0.7}, "temperature", "unsupported_value"),
        ({"n": 2}, "n", "unsupported_value"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_value"),
        ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_value"),
        ({"tool_choice": "required", "tools": TOOL}, "tool_choice", "invalid_value"),
        ({"guided_json": {}}, "guided_json", "unknown_parameter"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": True}, "max_tokens", "invalid_value"),
        ({"top_logprobs": 50, "logprobs": True}, "top_logprobs", "invalid_value"),
        ({"stop": 5}, "stop", "invalid_value"),
        ({"stop": ["a"] * 17}, "stop", "invalid_value"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": ["Hi"]}, "messages", "invalid_value"),
        ({"tools": ["x"]}, "tools", "invalid_value"),
        ({"stream_options": 1}, "stream_options", "invalid_value"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages", "invalid_value"),
    ],
)
def test_what_the_engine_cannot_do_is_told_in_openais_form(
    ask: Callable[..., Any], fields: dict[str, Any], param: str, code: str
) -> None:
    for stream in (False, True):
        refused = ask(**fields, stream=stream)
        assert refused.status_code == 400, refused.text
        error = refused.json()["error"]
        assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")


def test_what_changes_nothing_about_a_greedy_answer_is_taken(ask: Callable[..., Any]) -> None:
    harmless = {"seed": 1, "user": "u", "top_p": 0.9, "n": 1, "temperature": None, "presence_penalty": 0.0}
    assert ask(**harmless).json()["choices"][0]["message"]["content"] == "Paris"


def test_parts_of_text_are_read_and_images_refused(ask: Callable[..., Any]) -> None:
    parts = [{"type": "text", "text": QUESTION}]
    assert ask(messages=[{"role": "user", "content": parts}]).json()["choices"][0]["message"]["content"] == "Paris"
    image = [{"type": "image_url", "image_url": {"url": "x"}}]
    refused = ask(messages=[{"role": "user", "content": image}])
    assert refused.status_code == 400 and "image_url" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/models/none", 404),
        ("GET", "/", 404),
        ("GET", "/nothing/at/all", 404),
        ("GET", "/v1/", 404),
    ],
)
def test_an_error_has_openais_form_on_every_route(http: httpx.Client, method: str, path: str, status: int) -> None:
    told = http.request(method, path)
    assert told.status_code == status
    assert set(told.json()["error"]) == {"message", "type", "param", "code"}


def test_the_tool_servers_own_paths_stay_its_own(http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    assert http.post("/mcp", json={}).status_code in (400, 406)
