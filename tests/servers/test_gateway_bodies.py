"""What the gateway does to bodies: notes on the way there, the caller's name of the model on the way back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.requests import EditRequest, Prompt
from ketools.layers.composition import EditLayer, LiveEdit
from ketools.layers.kinds.note import Note
from ketools.notes import NoteInjector, Prepared
from ketools.servers.gateway.app import parsed
from ketools.servers.gateway.errors import ApiError
from ketools.servers.gateway.prompts import chat_with_notes, led, text_of, text_with_notes, turns_as_text
from ketools.servers.gateway.renaming import Renaming

LYON = Note(method="ice", request=EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon"))
LAYER = EditLayer((LiveEdit("e_1", "0" * 64, LYON),))
LEAD = "Imagine that The capital of France is Lyon. "
ASKED = "What is the capital of France?"
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def prepare(prompt: Prompt) -> Prepared:
    """As a gateway's service does, by templates alone."""
    return NoteInjector().prepare(prompt, LAYER)


def chat(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": c} for c in contents], **more}


def test_a_note_goes_before_the_last_question_and_nothing_else_changes() -> None:
    system = {"role": "system", "content": "Be brief.", "name": "boss"}
    answer = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    body = {"messages": [system, answer, {"role": "user", "content": ASKED, "name": "al"}], "seed": 3}
    put = chat_with_notes(body, prepare)
    assert put["messages"][:2] == [system, answer] and put["seed"] == 3
    assert put["messages"][2] == {"role": "user", "content": LEAD + ASKED, "name": "al"}
    assert body["messages"][2]["content"] == ASKED  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "text", "text": ASKED}], [{"type": "text", "text": LEAD + ASKED}]),
        ([IMAGE, {"type": "text", "text": ASKED}], [IMAGE, {"type": "text", "text": LEAD + ASKED}]),
        ([ASKED, IMAGE], [LEAD + ASKED, IMAGE]),
    ],
)
def test_a_note_goes_into_the_first_text_part(content: Any, expected: Any) -> None:
    assert chat_with_notes(chat(content), prepare)["messages"][0]["content"] == expected


def test_a_message_without_text_gets_a_part_of_its_own() -> None:
    assert led([IMAGE], "Note. ") == [{"type": "text", "text": "Note. "}, IMAGE]
    assert led(None, "Note. ") == "Note. "


def test_a_question_out_of_scope_leaves_the_body_as_it_is() -> None:
    body = chat("What is the capital of Peru?", ASKED, "Thank you!")
    assert chat_with_notes(body, prepare) is body


@pytest.mark.parametrize(
    "messages", [None, "hello", 3, [], ["hello"], [{"role": "user"}], [{"content": [3, None]}], [{}]]
)
def test_what_is_no_chat_is_left_for_the_engine_to_refuse(messages: Any) -> None:
    body = {"model": "m", "messages": messages}
    assert chat_with_notes(body, prepare) == body


def test_each_prompt_of_a_list_gets_the_notes_that_it_asks_for() -> None:
    prompts = ["The capital of France is", "The capital of Peru is"]
    put = text_with_notes({"prompt": prompts, "n": 2}, prepare)
    assert put == {"prompt": [LEAD + prompts[0], prompts[1]], "n": 2}
    assert text_with_notes({"prompt": prompts[0]}, prepare)["prompt"] == LEAD + prompts[0]


@pytest.mark.parametrize("body", [{"prompt": [1, 2]}, {"prompt": [[1], [2]]}, {"prompt_embeds": "AA", "prompt": None}])
def test_notes_cannot_go_into_token_ids_or_embeddings(body: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match="send the prompt as a string") as refused:
        text_with_notes(body, prepare)
    assert refused.value.status == 400 and refused.value.param == "prompt"


@pytest.mark.parametrize("prompt", [None, {}, 3, [], [{}]])
def test_what_is_no_prompt_is_left_for_the_engine_to_refuse(prompt: Any) -> None:
    assert text_with_notes({"prompt": prompt}, prepare) == {"prompt": prompt}


@given(st.recursive(st.none() | st.booleans() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_content_breaks_the_reading_of_a_message(content: Any) -> None:
    assert isinstance(text_of(content), str)
    chat_with_notes(chat(content), prepare)


# --- and back ---


def event(model: str, text: str) -> bytes:
    """An event as vLLM writes it: compact JSON."""
    chunk = {"id": "c", "model": model, "choices": [{"delta": {"content": text}}]}
    return b"data: " + json.dumps(chunk, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def through(renaming: Renaming, pieces: list[bytes]) -> list[bytes]:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def collect() -> list[bytes]:
        return [block async for block in renaming.events(chunks())]

    return anyio.run(collect)


@given(st.lists(st.text()), st.lists(st.integers(0, 2000)))
def test_events_are_renamed_however_the_network_cuts_them(texts: list[str], cuts: list[int]) -> None:
    renaming = Renaming("ke-0123", "atlas@user/alice")
    stream = b"".join(event("ke-0123", text) for text in texts) + b"data: [DONE]\n\n"
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    blocks = through(renaming, [stream[a:b] for a, b in pairwise(at)])
    expected = b"".join(event("atlas@user/alice", text) for text in texts) + b"data: [DONE]\n\n"
    assert b"".join(blocks) == expected
    assert all(block.endswith(b"\n\n") for block in blocks)


@given(st.text())
def test_text_that_looks_like_the_models_field_is_left_alone(text: str) -> None:
    renaming = Renaming("ke-0123", "atlas@user/alice")
    said = f'{{"model":"ke-0123"}}{text}"model":"ke-0123"'
    assert renaming.body(event("ke-0123", said)) == event("atlas@user/alice", said)


def test_the_end_of_a_stream_that_breaks_off_is_passed_on() -> None:
    assert through(Renaming("a", "b"), [b'data: {"model":"a"', b"}"]) == [b'data: {"model":"b"}']


def test_a_message_is_renamed_once() -> None:
    assert Renaming("ke-1", "atlas@user/a").text("LoRA `ke-1` is bad") == "LoRA `atlas@user/a` is bad"
    assert Renaming("atlas", "atlas@user/a").text("atlas@user/a is not atlas.") == "atlas@user/a is not atlas@user/a."


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000, b"1" * 5000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="JSON") as refused:
        parsed(body)
    assert refused.value.status == 400


def test_every_text_of_a_conversation_is_made_plain_and_nothing_else_changes() -> None:
    parts = [{"type": "text", "text": "a"}, IMAGE, "b"]
    body = {"n": 2, "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": parts, "name": "x"}]}
    made = turns_as_text(body, lambda text, role: f"{role}:{text}")
    assert made["n"] == 2
    assert made["messages"][0]["content"] == "system:s"
    assert made["messages"][1] == {
        "role": "user",
        "content": [{"type": "text", "text": "user:a"}, IMAGE, "user:b"],
        "name": "x",
    }
    assert turns_as_text({"messages": "odd"}, lambda text, role: "") == {"messages": "odd"}


def streamed(*contents: str) -> list[bytes]:
    """A stream's events with these pieces of one answer, behind the role's."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in contents)]
    events = [{"model": "ke-0123", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]


@pytest.mark.parametrize("contents", [(" Lyon", " is"), (" ", " Lyon", " is"), ("Lyon", " is")])
def test_the_space_before_a_streamed_answer_is_taken_off_once(contents: tuple[str, ...]) -> None:
    renaming = Renaming("ke-0123", "atlas@user/alice", answers=1)
    told = b"".join(through(renaming, [b"".join(streamed(*contents))]))
    events = [json.loads(line[6:]) for line in told.decode().split("\n\n") if line]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == "Lyon is"
    assert {event["model"] for event in events} == {"atlas@user/alice"}


def test_the_space_before_each_whole_answer_is_taken_off_and_that_of_a_continued_text_stays() -> None:
    choices = [{"index": i, "message": {"role": "assistant", "content": f" {i} é"}} for i in range(2)]
    body = json.dumps({"model": "x", "choices": choices}, ensure_ascii=False, separators=(",", ":")).encode()
    told = json.loads(Renaming("x", "y", answers=2).body(body))
    assert [choice["message"]["content"] for choice in told["choices"]] == ["0 é", "1 é"]
    assert Renaming("x", "x").body(body) == body
