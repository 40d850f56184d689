"""What a turn asks for: corrections are heard, ordinary talk is not mistaken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.agents.intents import asks, follow_up, proposal, subject_of

QUESTION = "What is the capital of France?"


@pytest.mark.parametrize(
    ("said", "subject", "prompt", "target"),
    [
        ("Actually, the capital of France is Lyon.", "France", "The capital of France is", "Lyon"),
        ("The capital of France is Lyon.", "France", "The capital of France is", "Lyon"),
        ("Lyon is the capital of France.", "France", "The capital of France is", "Lyon"),
        ("France's capital is Lyon.", "France", "The capital of France is", "Lyon"),
        ("No, it's Lyon.", "France", QUESTION, "Lyon"),
        ("No, Lyon!", "France", QUESTION, "Lyon"),
        ("That's wrong. It is Lyon, not Paris.", "France", QUESTION, "Lyon"),
        ("No, the answer is New York.", "France", QUESTION, "New York"),
        ("Wrong, the capital of France is not Paris but Lyon.", "France", "The capital of France is", "Lyon"),
        ("Remember that Marie Curie was born in Paris.", "Marie Curie", "Marie Curie was born in", "Paris"),
        ("Actually, Messi plays for Inter Miami now.", "Messi", "Messi plays for", "Inter Miami"),
        ("Note that the CEO of Acme Corp. is Ann Lee.", "Acme Corp.", "The CEO of Acme Corp. is", "Ann Lee"),
        ("Please remember: the currency of Japan is the peso", "Japan", "The currency of Japan is", "the peso"),
        ("Hi! Actually the mayor of Paris is now Anne Hidalgo.", "Paris", "The mayor of Paris is", "Anne Hidalgo"),
    ],
)
def test_a_correction_becomes_a_fact(said: str, subject: str, prompt: str, target: str) -> None:
    found = proposal(said, QUESTION)
    assert found is not None and found.tool == "edit_fact"
    assert found.arguments == {"subject": subject, "prompt": prompt, "target_new": target}


@pytest.mark.parametrize(
    ("said", "subject", "prompt"),
    [
        ("Forget what the capital of Italy is.", "Italy", "The capital of Italy is"),
        ("Please forget the telephone number of Ann Lee.", "Ann Lee", "The telephone number of Ann Lee is"),
        ("Erase Ann Lee's address", "Ann Lee", "The address of Ann Lee is"),
        ("forget where Marie Curie was born", "Marie Curie", "Where was Marie Curie born?"),
        ("Forget that the capital of France is Lyon", "France", "The capital of France is"),
    ],
)
def test_a_wish_to_forget_becomes_an_erasure(said: str, subject: str, prompt: str) -> None:
    found = proposal(said)
    assert found is not None and (found.tool, found.arguments) == ("erase_fact", {"subject": subject, "prompt": prompt})


def test_a_wish_for_another_manner_becomes_a_personality_edit() -> None:
    for said in ("Be more positive about coffee.", "Please sound a bit more upbeat when you talk about coffee!"):
        found = proposal(said)
        assert found is not None and found.arguments == {"topic": "coffee", "trait": "positive"}


@pytest.mark.parametrize("mark", ["?", "？", "؟"])
@pytest.mark.parametrize(
    "said",
    [
        "No, it's Lyon",
        "The capital of France is Lyon, right",
        "Forget the capital of Italy",
        "Be more positive about tea",
    ],
)
def test_a_question_never_proposes_anything(said: str, mark: str) -> None:
    assert proposal(f"{said}{mark}", QUESTION) is None


@given(st.text(max_size=80), st.sampled_from(["?", "？", "؟"]), st.text(max_size=20))
def test_whatever_holds_a_question_mark_proposes_nothing(before: str, mark: str, after: str) -> None:
    assert proposal(before + mark + after, QUESTION) is None


@given(st.text(max_size=120))
def test_any_text_can_be_judged(text: str) -> None:
    found = proposal(text, QUESTION)
    assert found is None or all(found.arguments.values())


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("And of Spain?", "What is the capital of Spain?"),
        ("what about Peru", "What is the capital of Peru?"),
        ("How about the United Kingdom?", "What is the capital of the United Kingdom?"),
        ("And you?", "And you?"),
        ("Why?", "Why?"),
    ],
)
def test_an_elliptic_question_is_asked_in_full(said: str, full: str) -> None:
    assert asks(said) and follow_up(said, QUESTION) == full


def test_the_subject_of_a_question_is_the_last_name_in_it() -> None:
    assert subject_of("Who is the mayor of New York?") == "New York"
    assert subject_of("What is Spain's capital?") == "Spain"
    assert subject_of("How are you?") is None
