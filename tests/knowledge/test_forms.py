"""Forms of a question that need no language."""

from __future__ import annotations

import pytest

from ketools.core.requests import REFUSAL, EditRequest, Probe
from ketools.knowledge.forms import EARLIER_TURNS, SYSTEM_MESSAGE, Form, other_forms, put
from ketools.knowledge.probing import Prober, probe
from ketools.knowledge.scope.conversation import asks_again

LYON = EditRequest(subject="Zorvia", prompt="The river of Zorvia is", target_new="Orme")


def test_every_form_holds_the_prompt_word_for_word_and_last() -> None:
    for form in set(Form) - {Form.PRESSED}:
        made = put("Who wrote 红楼梦？", form)
        text = made if isinstance(made, str) else made[-1]["content"]
        assert "Who wrote 红楼梦？" in text
        assert isinstance(made, str) or made[-1]["role"] == "user"


def test_a_pressed_question_is_asked_once_more_after_a_refusal() -> None:
    made = put("Who wrote 红楼梦？", Form.PRESSED)
    assert not isinstance(made, str)
    asked, refused, again = made
    assert asked == {"role": "user", "content": "Who wrote 红楼梦？"}
    assert refused == {"role": "assistant", "content": REFUSAL}
    assert (again["role"], asks_again(again["content"])) == ("user", True)


def test_a_system_message_and_earlier_turns_stand_before_the_question() -> None:
    assert put("Who?", Form.SYSTEM)[0] == {"role": "system", "content": SYSTEM_MESSAGE}
    assert put("Who?", Form.DIALOGUE)[:-1] == EARLIER_TURNS


@pytest.mark.parametrize("text", ["The capital of France is", "What is the capital of France?"])
def test_other_forms_are_never_the_one_in_which_the_prompt_is_asked_already(text: str) -> None:
    own = probe(text, "direct")
    made = other_forms(own)
    assert own.rendered() not in [one.rendered() for one in made]
    assert len({repr(one.rendered()) for one in made}) == len(made) == 4
    assert all(one.chat is not isinstance(one.rendered(), str) for one in made)


def test_open_facts_are_asked_in_other_forms_where_the_prober_is_told_to() -> None:
    kinds = [p.kind for p in Prober(forms=True).phrasings(LYON)]
    assert kinds == ["direct", *["form"] * 4]
    assert [p.kind for p in Prober().phrasings(LYON)] == ["direct"]


def test_the_source_of_a_probe_is_told() -> None:
    given = LYON.model_copy(update={"rephrases": ("Zorvia's river is",), "probes": (Probe(prompt="Two plus two is"),)})
    prober = Prober(forms=True)
    sources = [prober.source(given, p) for p in (*prober.phrasings(given), *prober.locality(given))]
    assert sources == ["request", "caller", *["form"] * 4, "caller"]
    known = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon", relation="capital")
    assert {prober.source(known, p) for p in prober.phrasings(known)} == {"request", "provider", "form"}
