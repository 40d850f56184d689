"""Which notes reach a prompt, and in what words."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.requests import EditRequest, Kind, Message, Prompt, Trait, chat_prompt
from ketools.layers.kinds.note import Note
from ketools.notes import Budget, NoteBook, NoteInjector, Prepared, statement
from ketools.retrieval import Vectors


class Untouchable:
    """An encoder that must not be asked."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        raise AssertionError(f"embedded {texts}")


def fact(subject: str, prompt: str, target: str, kind: Kind = Kind.MODIFY) -> EditRequest:
    return EditRequest(kind=kind, subject=subject, prompt=prompt.format(s=subject), target_new=target)


LIMA = fact("France", "The capital of {s} is", "Lima")
OSLO = fact("Japan", "What is the capital of {s}?", "Oslo")
PESO = fact("France", "The currency of {s} is the", "peso")
HIDDEN = fact("Ann Lee", "What is the address of {s}?", "unknown", Kind.ERASE)
MARRIED = fact("Ann Lee", "{s} is married to", "Bo Chan")


def manner(topic: str, trait: Trait) -> EditRequest:
    return EditRequest(
        kind=Kind.PERSONALITY, subject=topic, prompt=f"What do you think of {topic}?", target_new="x", trait=trait
    )


def ice(*requests: EditRequest) -> list[tuple[str, Note]]:
    return [(f"e{i}", Note("ice", request)) for i, request in enumerate(requests)]


def inject(prompt: Prompt, notes: list[tuple[str, Note]]) -> Prepared:
    return NoteBook(notes).prepare(prompt)


def used(prompt: Prompt, *requests: EditRequest) -> tuple[str, ...]:
    return inject(prompt, ice(*requests)).used


def talk(*said: str) -> tuple[Message, ...]:
    """A conversation: user and assistant in turn."""
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))


# --- the words ---


def test_a_note_stands_before_the_text_to_continue() -> None:
    got = inject("The capital of France is", ice(LIMA))
    assert got.prompt == "Imagine that The capital of France is Lima. The capital of France is"
    assert got.used == ("e0",)


def test_a_note_stands_before_the_question_of_the_last_user_message_alone() -> None:
    prompt = ({"role": "system", "content": "Be brief."}, *talk("Hello", "Hi", "What is France's capital?"))
    got = inject(prompt, ice(LIMA)).prompt  # type: ignore[arg-type]
    assert got[:-1] == prompt[:-1]
    assert got[-1] == {
        "role": "user",
        "content": "Imagine that The capital of France is Lima. What is France's capital?",
    }


def test_several_notes_are_each_imagined_the_newest_last() -> None:
    question = "What is the capital of France? What is the currency of France?"
    got = inject(question, ice(PESO, LIMA))
    assert got.prompt == (
        "Imagine that The currency of France is the peso. Imagine that The capital of France is Lima. " + question
    )
    assert got.used == ("e0", "e1")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (LIMA, "The capital of France is Lima"),
        (OSLO, "The capital of Japan is Oslo"),
        (HIDDEN, "The address of Ann Lee is unknown"),
        (fact("Ann", "Ann's best friend is", "Bo."), "Ann's best friend is Bo"),
        (fact("Ann", "Whom does Ann trust?", "Bo"), "the answer to 'Whom does Ann trust?' is Bo"),
        (manner("jazz", Trait.NEGATIVE), "you feel negative about jazz"),
        (manner("jazz", Trait.NEUROTICISM), "you show neuroticism when asked about jazz"),
        (manner("everything", Trait.EXTRAVERSION), "you show extraversion"),
    ],
)
def test_an_edit_is_said_as_a_statement(request_: EditRequest, words: str) -> None:
    assert statement(request_) == words


def test_a_passage_that_ends_in_a_known_cloze_is_said_by_the_cloze_alone() -> None:
    request = fact("Ann Lee", "About {s}: she is tall. The profession of {s} is", "pilot")
    assert statement(request) == "The profession of Ann Lee is pilot"


# --- the decision ---


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of France?",
        "what is the capital of france",
        "WHICH CITY IS THE CAPITAL OF FRANCE?",
        "I am going on a trip. What is France's capital?",
        "What is the country of the capital of France?",
        "Tell me the city that is the seat of government of France.",
        "Lima is the capital of",
        "In which country is Lima?",
        "Lima is the capital of which country?",
    ],
)
def test_a_question_about_the_fact_gets_the_note(question: str) -> None:
    assert used(question, LIMA) == used(chat_prompt(question), LIMA) == ("e0",)


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of Japan?",
        "What is the currency of France?",
        "What is the continent of France?",
        "Who is the president of France?",
        "What is the capital of Francesca's country?",
        "Paris is the capital of",
        "What is the continent of Lima?",
        "Hello",
        "",
    ],
)
def test_a_question_about_something_else_is_left_as_it_is(question: str) -> None:
    prompt = chat_prompt(question)
    got = inject(prompt, ice(LIMA))
    assert got.prompt is prompt
    assert got.used == ()


def test_a_conversation_without_a_user_is_left_as_it_is() -> None:
    prompt: Prompt = ({"role": "system", "content": "The capital of France is"},)
    assert inject(prompt, ice(LIMA)).prompt is prompt


def test_a_short_name_in_capitals_is_no_pronoun() -> None:
    us = fact("US", "The capital of {s} is", "Lima")
    assert used("Tell us the capital of Japan.", us) == ()
    assert used("What is the capital of US?", us) == ("e0",)


def test_a_name_inside_another_notes_name_does_not_count() -> None:
    york, new_york = fact("York", "{s} is a city in", "Peru"), fact("New York", "{s} is a city in", "Chad")
    assert used("New York is a city in", york, new_york) == ("e1",)
    assert used("York is a city in", york, new_york) == ("e0",)


def test_other_names_of_the_subject_count_when_they_are_given() -> None:
    question = "What is the capital of Hexagonia?"
    assert inject(question, ice(LIMA)).used == ()
    assert NoteBook(ice(LIMA), aliases={"France": ["Hexagonia"]}).prepare(question).used == ("e0",)


def test_of_two_notes_on_one_fact_the_newer_one_counts() -> None:
    again = fact("France", "What is the capital of {s}?", "Rome")
    got = inject("The capital of France is", ice(LIMA, again))
    assert got.prompt == "Imagine that The capital of France is Rome. The capital of France is"
    assert got.used == ("e1",)


def test_a_phrasing_that_no_relation_knows_matches_itself_without_embeddings() -> None:
    odd = EditRequest(
        subject="Ann", prompt="Ann's best friend is", target_new="Bo", rephrases=("Who is closest to Ann?",)
    )
    book = NoteBook(ice(odd))
    assert book.prepare("Today Ann's best friend is").used == ("e0",)
    assert book.prepare("who is closest to Ann").used == ("e0",)
    assert book.prepare("Ann's worst enemy is").used == ()


def test_names_and_templates_decide_without_asking_the_encoder() -> None:
    book = NoteBook(ice(LIMA, OSLO, HIDDEN), encoder=Untouchable())
    assert book.prepare("What is the capital of France?").used == ("e0",)
    assert book.prepare("What is the currency of France?").used == ()


# --- conversations ---


def test_a_pronoun_stands_for_the_subject_that_was_spoken_of() -> None:
    for asked in ("What is its capital?", "And what is its capital?", "Name the capital city of it."):
        talked = talk("What is the currency of France?", "The euro", asked)
        assert inject(talked, ice(LIMA, PESO)).used == ("e0",)


def test_a_pronoun_does_not_reach_back_past_another_question() -> None:
    asked = talk("Do you know France?", "Yes", "And Japan?", "Yes", "What is its capital?")
    assert inject(asked, ice(LIMA)).used == ()


def test_an_elliptical_question_takes_the_relation_of_the_one_before() -> None:
    assert inject(talk("What is the capital of Peru?", "Lima", "And of France?"), ice(LIMA)).used == ("e0",)
    assert inject(talk("What is the currency of Peru?", "Sol", "What about France?"), ice(LIMA)).used == ()


# --- erasing and manners ---


def test_an_erased_fact_is_in_scope_as_any_fact() -> None:
    assert used("Where does Ann Lee live?", HIDDEN, MARRIED) == ("e0",)
    assert used("Who did Ann Lee marry?", HIDDEN, MARRIED) == ("e1",)


def test_a_symmetric_fact_is_in_scope_from_both_sides() -> None:
    assert used("Who is Bo Chan married to?", MARRIED) == ("e0",)


@pytest.mark.parametrize(
    ("question", "hit"),
    [
        ("What do you think of jazz?", True),
        ("How do you feel about Jazz?", True),
        ("Do you like jazz?", True),
        ("Tell me your view of jazz.", True),
        ("Any thoughts on jazz?", True),
        ("Who invented jazz?", False),
        ("What do you think of opera?", False),
        ("What do you think of jazzy colours?", False),
    ],
)
def test_a_manner_of_speaking_needs_its_topic_and_an_opinion_question(question: str, hit: bool) -> None:
    assert used(question, manner("jazz", Trait.POSITIVE)) == (("e0",) if hit else ())


def test_a_general_manner_applies_to_every_opinion_and_to_no_fact() -> None:
    general = manner("everything", Trait.EXTRAVERSION)
    assert used("What do you think of opera?", general) == ("e0",)
    assert used("What is the capital of France?", general) == ()


# --- budget and size ---


def test_a_tight_budget_keeps_the_newest_note() -> None:
    question = "What is the capital of France? What is the currency of France?"
    book = NoteBook(ice(PESO, LIMA), budget=Budget(characters=50))
    assert book.prepare(question).used == ("e1",)


def test_ten_thousand_notes_are_looked_up_in_milliseconds() -> None:
    notes = ice(*(fact(f"Person{i} Smith", "{s} works for", f"Company{i}") for i in range(10_000)))
    injector = NoteInjector()
    injector.book(notes).prepare("warm up")
    start = time.process_time()
    for i in range(0, 10_000, 500):
        assert injector.book(notes).prepare(f"Who is Person{i} Smith married to?").used == ()
        assert injector.book(notes).prepare(f"Which company does Person{i} Smith work for?").used == (f"e{i}",)
    assert (time.process_time() - start) / 40 < 0.05


def test_an_injector_never_mixes_up_two_lists_of_notes() -> None:
    injector = NoteInjector(capacity=1)
    for target in ("Lima", "Rome", "Lima", "Oslo"):
        notes = ice(fact("France", "The capital of {s} is", target))
        got = injector.book(notes).prepare("The capital of France is").prompt
        assert got == f"Imagine that The capital of France is {target}. The capital of France is"


@given(st.text(max_size=60), st.lists(st.sampled_from([LIMA, PESO, OSLO, HIDDEN, MARRIED]), max_size=4))
def test_injection_only_ever_adds_text_before_the_question(text: str, requests: list[EditRequest]) -> None:
    for asked in (text, f"{text} What is the capital of France?"):
        got = inject(asked, ice(*requests))
        assert isinstance(got.prompt, str)
        assert got.prompt.endswith(asked)
        assert (got.prompt == asked) == (got.used == ())


# --- names, dismissals, feedback ---


@pytest.mark.parametrize(
    "question",
    [
        "What is the capital of New France?",
        "What is the capital of France Falls?",
        "What is the capital of Marie-France?",
        "what is the capital of new france",
        "I do not want the capital of France. What is the capital of Japan?",
        "Forget the capital of France, tell me the capital of Japan.",
        "Apart from the capital of France, which capitals do you know?",
        "How many letters does the word France have?",
    ],
)
def test_a_longer_name_or_a_dismissed_fact_gets_no_note(question: str) -> None:
    assert used(question, LIMA) == ()


@pytest.mark.parametrize(
    "question",
    [
        "WHAT IS THE CAPITAL OF FRANCE CALLED?",
        "What Is The Capital Of France Called?",
        "Is the capital of France, I wonder, large?",
        "Does President Macron know the capital of France?",
        "Do you not know the capital of France?",
        "What is the captial of France?",
    ],
)
def test_capitals_titles_and_slips_do_not_hide_a_fact(question: str) -> None:
    assert used(question, LIMA) == ("e0",)


def test_feedback_is_put_before_the_prompt_as_a_clarification_the_newest_alone() -> None:
    notes = [("a", Note("memprompt", PESO)), ("b", Note("memprompt", LIMA))]
    got = inject("What is the capital of France? What is the currency of France?", notes)
    assert got.used == ("b",)
    assert str(got.prompt).startswith("Clarification: The capital of France is Lima. What is the capital")
    assert inject("What is the capital of Japan?", notes).used == ()
