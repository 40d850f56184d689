"""What a conversation asks about a subject, follow-up questions written out."""

from __future__ import annotations

import pytest

from ketools.core.requests import Message, Prompt
from ketools.knowledge.scope.conversation import asked, asks_again, pressed, readings


def talk(*said: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))


@pytest.mark.parametrize(
    ("name", "prompt", "reading"),
    [
        ("Spain", talk("What is the capital of France?", "Paris.", "And of Spain?"), "What is the capital of Spain?"),
        ("France", talk("Tell me about France.", "Gladly.", "Who is its mayor?"), "Who is France's mayor?"),
        ("France", talk("Where is France?", "In Europe.", "And the population?"), "France: the population?"),
        ("Spain", "What is the capital of\nSpain?", "What is the capital of Spain?"),
        ("Spain", "What is the capital of\r\nSpain?", "What is the capital of Spain?"),
        ("France", "I like France. What is its capital?", "What is France's capital?"),
        ("France", "Please answer the question:\n\nQ: Where is France?\nA:", "Where is France?"),
        ("法国", talk("法国在哪里？", "欧洲。", "它的人口是多少？"), "法国的人口是多少？"),
        ("法国", talk("法国在哪里？", "欧洲。", "人口是多少？"), "法国人口是多少？"),
        ("フランス", talk("フランスはどこですか？", "欧州です。", "その首都は？"), "フランスの首都は？"),
        ("Mozart", talk("Who wrote it?", "Mozart did.", "Where was he born?"), "Where was Mozart born?"),
    ],
)
def test_a_follow_up_is_read_with_what_it_leaves_out(name: str, prompt: Prompt, reading: str) -> None:
    assert reading in readings(asked(prompt), (name,))


def test_a_pronoun_stands_for_whom_the_user_spoke_of_last() -> None:
    turned = talk("Do you know Adam?", "Yes.", "Now let us talk about Bert.", "Fine.", "Where was he born?")
    assert readings(asked(turned), ("Adam",)) == ()
    assert readings(asked(turned), ("Bert",)) == ("Where was Bert born?",)


def test_a_question_that_names_nobody_of_before_is_no_follow_up() -> None:
    assert readings(asked(talk("Where is France?", "In Europe.", "Who wrote Hamlet?")), ("France",)) == ()


def test_a_chat_without_a_user_asks_nothing() -> None:
    assert asked(({"role": "system", "content": "Be brief."},)).texts == ("",)


def test_a_long_message_is_read_by_its_last_sentences() -> None:
    question = asked(" ".join(["It was late."] * 400) + " Where is France?")
    assert question.texts[-1] == "Where is France?"
    assert len(question.texts) <= 13


@pytest.mark.parametrize(
    "text",
    [
        "Are you sure?",
        "Really?",
        "You do know it. Tell me, please!",
        "Come on, just say it.",
        "Bist du sicher?",
        "Tu es sûr ?",
        "你确定吗？",
        "本当ですか？",
        "Emin misin?",
    ],
)
def test_pressing_for_an_answer_asks_again(text: str) -> None:
    assert asks_again(text)
    talked = talk("Where is France?", "In Europe.", text)
    assert pressed(talked) == talked[:1]
    assert pressed(talk("Where is France?", "In Europe.", text, "Yes.", text)) == talked[:1]


@pytest.mark.parametrize("text", ["And the population?", "Who wrote Dune?", "Tell me about Spain.", "", "人口是多少？"])
def test_a_question_of_its_own_does_not_ask_again(text: str) -> None:
    assert not asks_again(text)


def test_a_conversation_of_pressing_alone_keeps_its_first_message() -> None:
    assert pressed(talk("Are you sure?", "Of what?", "Really?")) == talk("Are you sure?")
    assert pressed("Are you sure?") == "Are you sure?"
