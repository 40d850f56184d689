"""Notes in OpenAI request bodies: what is in scope is written before the question, as `ketools.notes` does it.

Only the text that holds the question changes. A body in a form that is no prompt comes back as it is: the engine
refuses it with its own message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ketools.core.requests import Message, Prompt
from ketools.notes import Prepared
from ketools.servers.gateway.errors import ApiError

Body = Mapping[str, Any]
Prepare = Callable[[Prompt], Prepared]


def chat_with_notes(body: Body, prepare: Prepare) -> Body:
    """A chat completion's body with the notes that its last user message asks for."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return body
    read = tuple(Message(role=str(m.get("role")), content=text_of(m.get("content"))) for m in messages)
    put = prepare(read)
    if not put.used:
        return body
    last = max(i for i, message in enumerate(read) if message["role"] == "user")
    told = put.prompt[last]
    assert not isinstance(told, str), "a chat stays a chat"
    lead = told["content"].removesuffix(read[last]["content"])
    changed = {**messages[last], "content": led(messages[last].get("content"), lead)}
    return {**body, "messages": [*messages[:last], changed, *messages[last + 1 :]]}


def turns_as_text(body: Body, as_text: Callable[[str, str], str]) -> Body:
    """A chat completion's body with what each message says changed by `as_text(text, role)`; other parts stay."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        return body
    return {**body, "messages": [_turn_as_text(m, as_text) for m in messages]}


def _turn_as_text(message: Mapping[str, Any], as_text: Callable[[str, str], str]) -> dict[str, Any]:
    content, role = message.get("content"), str(message.get("role"))
    if isinstance(content, str):
        return {**message, "content": as_text(content, role)}
    if not isinstance(content, list):
        return dict(message)
    texts = [_part_text(part) for part in content]
    return {
        **message,
        "content": [
            part
            if text is None
            else {**part, "text": as_text(text, role)}
            if isinstance(part, dict)
            else as_text(text, role)
            for part, text in zip(content, texts, strict=True)
        ],
    }


def text_of(content: object) -> str:
    """What a message says: a string, or the text parts of a list, a line each."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(text for part in parts if (text := _part_text(part)) is not None)


def _part_text(part: object) -> str | None:
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else None


def led(content: object, lead: str) -> object:
    """A message's content with text before its own; other parts (images, audio) stay where they are."""
    if not isinstance(content, list):
        return lead + (content if isinstance(content, str) else "")
    for i, part in enumerate(content):
        text = _part_text(part)
        if text is not None:
            first = {**part, "text": lead + text} if isinstance(part, dict) else lead + text
            return [*content[:i], first, *content[i + 1 :]]
    return [{"type": "text", "text": lead}, *content]


def text_with_notes(body: Body, prepare: Prepare) -> Body:
    """A completion's body with notes before its prompt, or before each of its prompts.

    Raises `ApiError` (400) for prompts of token ids or embeddings: notes are text, and can only go into text.
    """
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        return {**body, "prompt": prepare(prompt).prompt}
    if body.get("prompt_embeds") is not None or _has_ids(prompt):
        raise ApiError(
            400,
            "Edits of this space act by what a prompt asks, so it must be text: send the prompt as a string, not as "
            "token ids or embeddings. Or move its notes into the weights with `consolidate`, and send what you like.",
            "notes_need_text",
            param="prompt",
        )
    if isinstance(prompt, list):
        return {**body, "prompt": [prepare(one).prompt if isinstance(one, str) else one for one in prompt]}
    return body


def _has_ids(prompt: object) -> bool:
    return isinstance(prompt, list) and any(isinstance(one, int | list) for one in prompt)
