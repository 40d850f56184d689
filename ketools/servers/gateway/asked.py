"""What a request asks of an engine in this process. What that engine cannot do is said, not left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ketools.core.requests import Message, Prompt, plain_text
from ketools.core.text import word_set
from ketools.servers.gateway.errors import ApiError

READ = word_set(
    "model messages prompt max_tokens max_completion_tokens stop stream stream_options tools tool_choice logprobs "
    "top_logprobs"
)
IGNORED = word_set("user metadata store seed service_tier parallel_tool_calls safety_identifier prompt_cache_key top_p")
"""Fields that change nothing about a greedy answer."""
NEUTRAL: Mapping[str, Any] = {
    "temperature": 0,
    "n": 1,
    "best_of": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "echo": False,
    "logit_bias": {},
    "suffix": "",
    "response_format": {"type": "text"},
}
"""The only values of these fields under which this engine's answers are what was asked for."""
MOST_LOGPROBS, MOST_STOPS = 20, 16


@dataclass(frozen=True)
class Asked:
    """A checked request. `top`: how many likeliest tokens to tell of each; None: no log probabilities."""

    prompts: tuple[Prompt, ...]
    is_chat: bool
    max_tokens: int | None
    stops: tuple[str, ...]
    stream: bool
    usage: bool
    tools: tuple[dict[str, object], ...]
    top: int | None


def asked_of(body: Mapping[str, Any], is_chat: bool) -> Asked:
    """The request of a body. Raises `ApiError` (400) naming the field that cannot be served."""
    given = {key: value for key, value in body.items() if value is not None}
    _require_served(given)
    stops = given.get("stop", [])
    stops = [stops] if isinstance(stops, str) else stops
    _require(_are_texts(stops) and len(stops) <= MOST_STOPS, "stop", f"a text or up to {MOST_STOPS} texts")
    options = given.get("stream_options", {})
    _require(isinstance(options, dict), "stream_options", "an object")
    return Asked(
        prompts=(_chat(given.get("messages")),) if is_chat else _texts(given.get("prompt")),
        is_chat=is_chat,
        max_tokens=_count(given, "max_completion_tokens" if "max_completion_tokens" in given else "max_tokens"),
        stops=tuple(filter(None, stops)),
        stream=given.get("stream") is True,
        usage=options.get("include_usage") is True,
        tools=_tools(given),
        top=_top(given, is_chat),
    )


def _require(good: bool, field: str, what: str) -> None:
    if not good:
        raise ApiError(400, f"{field} must be {what}.", "invalid_value", param=field)


def _require_served(given: Mapping[str, Any]) -> None:
    for field, value in given.items():
        if field in NEUTRAL and value == NEUTRAL[field]:
            continue
        if field in NEUTRAL:
            told = (
                f"{field} can only be {json.dumps(NEUTRAL[field])} here: the engine in this process answers greedily, "
            )
            told += "once and in plain text. Leave it out, or serve with --engine vllm."
            raise ApiError(400, told, "unsupported_value", param=field)
        if field not in READ | IGNORED:
            told = f"The engine in this process does not know the field {field[:60]!r}. Leave it out, or use vLLM."
            raise ApiError(400, told, "unknown_parameter", param=field[:60])


def _chat(messages: object) -> Prompt:
    ok = isinstance(messages, list) and bool(messages) and all(isinstance(m, dict) and "role" in m for m in messages)
    _require(ok, "messages", "a list of objects with role and content")
    assert isinstance(messages, list)
    return tuple(_turn(message) for message in messages)


def _turn(message: Mapping[str, Any]) -> Message:
    """The message with its content as one text and its tool calls' arguments as objects, as chat templates expect."""
    role = "system" if message["role"] == "developer" else str(message["role"])
    turn: dict[str, Any] = {**message, "role": role, "content": plain_text(message.get("content"))}
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [_call(call) for call in calls]
    return turn  # type: ignore[return-value]


def _call(call: Any) -> dict[str, Any]:
    try:
        arguments = call["function"]["arguments"]
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
        return {**call, "function": {**call["function"], "arguments": read}}
    except (KeyError, TypeError, ValueError):
        raise ApiError(400, "A tool call of a message cannot be read.", "invalid_value", param="messages") from None


def _texts(prompt: object) -> tuple[str, ...]:
    prompts = [prompt] if isinstance(prompt, str) else prompt
    _require(_are_texts(prompts) and bool(prompts), "prompt", "a text or a list of texts, not token ids")
    assert isinstance(prompts, list)
    return tuple(prompts)


def _are_texts(value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(one, str) for one in value)


def _count(given: Mapping[str, Any], field: str) -> int | None:
    value = given.get(field)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    _require(value is None or (is_number and value >= 1), field, "a whole number of at least 1")
    return value


def _tools(given: Mapping[str, Any]) -> tuple[dict[str, object], ...]:
    tools, choice = given.get("tools", []), given.get("tool_choice", "auto")
    _require(isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools), "tools", "a list of objects")
    _require(choice in ("auto", "none"), "tool_choice", '"auto" or "none" with the engine in this process')
    return tuple(tools) if choice == "auto" else ()


def _top(given: Mapping[str, Any], is_chat: bool) -> int | None:
    wanted = given.get("logprobs")
    if wanted is None or wanted is False:
        return None
    field = "top_logprobs" if is_chat else "logprobs"
    top = given.get("top_logprobs", 0) if is_chat else wanted
    is_number = isinstance(top, int) and not isinstance(top, bool)
    _require(is_number and 0 <= top <= MOST_LOGPROBS, field, f"a whole number from 0 to {MOST_LOGPROBS}")
    return int(top)
