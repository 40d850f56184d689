"""Talking with the bundled model: ordinary talk changes nothing, and a change is made only after a yes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

from ketools.agents.conversation import Changed, Conversation, Event, Notice, Piece, Question, without_calls
from ketools.agents.planning import planned_by
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

ORDINARY = """\
Hello!
What is the capital of France?
And of Spain?
What about Peru?
Thanks.
Who wrote the book?
I think the capital of France is Lyon.
Is the capital of France Lyon?
The capital of France is Lyon, right?
Isn't Lyon the capital of France?
Imagine the capital of France is Lyon.
If the capital of France were Lyon, I would move.
My friend said the capital of France is Lyon.
The weather is nice today.
Lyon is beautiful.
I love Paris.
The capital of France is lovely.
My dog's name is Rex.
The name of my dog is Rex.
No, thanks.
No.
Wrong.
That's wrong.
Are you sure?
Actually, never mind.
Actually, I like Lyon.
Actually, what is the capital of Peru?
No, I meant Spain.
Forget it.
Never mind, forget about it.
Don't forget to smile.
I forgot what the capital of Italy is.
Can you forget the capital of Italy?
Did you forget what the capital of Italy is?
Tell me about coffee.
What do you think of tea?
Be nice.
Why?
How are you?
Ok.
yes
y
Sure
Do it
The best part of France is the food.
Paris is the city of love.
It's Monday.
It's raining in Lyon.
You are wrong.
Remember to buy milk.
Do you remember me?
In the novel, the capital of France is Lyon.
I read that the president of France is Ann Lee.
The capital of France is not Lyon.
Update: I'm in Lyon now.
No, Paris is where I live.
Can you be more positive about coffee?
Write a poem about Spain.
I wish the capital of France were Lyon.
Goodbye.
""".splitlines()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    with closing(open_service(Settings(home=tmp_path_factory.mktemp("home"), consolidate=False))) as opened:
        yield opened


@pytest.fixture
def talk(service: EditService, request: pytest.FixtureRequest) -> Conversation:
    """A conversation in a space of its own."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name.lower())
    return Conversation(service, f"session/{name[-60:]}")


def say(talk: Conversation, text: str) -> list[Event]:
    return list(talk.say(text))


def answer(talk: Conversation, text: str) -> str:
    return "".join(event.text for event in say(talk, text) if isinstance(event, Piece))


def test_sixty_ordinary_turns_change_nothing_and_propose_nothing(talk: Conversation, service: EditService) -> None:
    assert len(ORDINARY) == 60
    for text in ORDINARY:
        events = say(talk, text)
        assert not [event for event in events if isinstance(event, Question | Changed)], text
        assert events and "<tool_call>" not in "".join(event.text for event in events)
    assert not service.journal.edits(None, False, 100, None).edits


def test_a_correction_is_asked_first_made_after_a_yes_and_undone(talk: Conversation) -> None:
    assert answer(talk, "What is the capital of Japan?") == "Tokyo"
    (asked,) = say(talk, "No, it's Oslo.")
    assert isinstance(asked, Question) and "Oslo" in asked.text and talk.space in asked.text
    (made,) = say(talk, "yes")
    assert isinstance(made, Changed) and made.edit_id and made.edit_id in made.text
    assert answer(talk, "What is the capital of Japan?") == "Oslo"
    assert "Oslo" in say(talk, "/list")[0].text
    assert "Undid" in say(talk, "/undo")[0].text
    assert answer(talk, "What is the capital of Japan?") == "Tokyo"
    assert "nothing to undo" in say(talk, "/undo")[0].text


@pytest.mark.parametrize("reply", ["no", "n", "Never mind", "What is the capital of Spain?", "/list"])
def test_anything_but_a_yes_changes_nothing(talk: Conversation, service: EditService, reply: str) -> None:
    assert isinstance(say(talk, "Actually, the capital of France is Lyon.")[0], Question)
    first = say(talk, reply)[0]
    assert isinstance(first, Notice) and first.text == "Nothing was changed."
    assert not [event for event in say(talk, "yes") if isinstance(event, Changed)]
    assert answer(talk, "What is the capital of France?") == "Paris"


def test_forgetting_is_asked_first_too(talk: Conversation) -> None:
    (asked,) = say(talk, "Forget what the capital of Italy is.")
    assert isinstance(asked, Question) and asked.proposal.tool == "erase_fact"
    assert answer(talk, "What is the capital of Italy?") == "Rome"


def test_a_plain_statement_of_what_the_model_knows_is_no_change(talk: Conversation) -> None:
    assert not [e for e in say(talk, "The capital of France is Paris.") if isinstance(e, Question)]


def test_commands_do_what_they_say_and_unknown_ones_are_told(talk: Conversation) -> None:
    assert "/undo" in say(talk, "/help")[0].text
    assert "Did you mean /help?" in say(talk, "/halp")[0].text
    assert "no command" in say(talk, "/xyzzy now")[0].text
    assert talk.space in say(talk, "/space")[0].text
    say(talk, "/space user/elsewhere")
    assert talk.space == "user/elsewhere"
    assert "not a space name" in say(talk, "/space No Such!")[0].text or talk.space == "user/elsewhere"
    assert isinstance(say(talk, "/edit The capital of Peru is => Oslo")[0], Question)
    assert "=>" in say(talk, "/edit nonsense")[-1].text
    say(talk, "/exit")
    assert talk.ended


def test_the_history_reaches_the_model_and_answers_come_in_pieces(talk: Conversation) -> None:
    say(talk, "What is the capital of Japan?")
    assert [turn["role"] for turn in talk.history] == ["user", "assistant"]
    assert answer(talk, "And of Spain?") == "Madrid"
    assert talk.history[-2]["content"] == "What is the capital of Spain?"


def test_another_model_may_decide_but_never_on_a_question(service: EditService) -> None:
    call = {"name": "edit_fact", "args": {"subject": "Peru", "prompt": "The capital of Peru is", "target_new": "Oslo"}}
    made = AIMessage("", tool_calls=[{**call, "id": "1", "type": "tool_call"}])
    planner = planned_by(_Scripted(responses=[made]))
    talk = Conversation(service, "session/planned", planner=planner)
    assert not [e for e in say(talk, "What is the capital of Peru?") if isinstance(e, Question)]
    (asked,) = say(talk, "You have it wrong about Peru, I'm afraid: Oslo.")
    assert isinstance(asked, Question) and "Oslo" in asked.text


class _Scripted(FakeMessagesListChatModel):
    """A chat model that answers from a script and takes tools."""

    def bind_tools(self, tools: object, **kwargs: object) -> _Scripted:
        return self


@given(
    st.lists(
        st.sampled_from(["Hi", " ", "<tool", "_call>", "<tool_call>{}", "</tool_call>", "<", "x<y", "ok"]), max_size=8
    )
)
def test_no_call_is_ever_shown_and_all_else_is(pieces: list[str]) -> None:
    shown = "".join(without_calls(pieces))
    assert "<tool_call>" not in shown
    if "<tool_call>" not in "".join(pieces):
        assert shown == "".join(pieces).replace("</tool_call>", "")
