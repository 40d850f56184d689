"""Names in requests: known spellings, relations whatever the typography, and evidence of a name in a text."""

from __future__ import annotations

import pytest

from ketools.core.questions import is_question
from ketools.core.requests import EditRequest
from ketools.core.text import clean_text
from ketools.knowledge.names import name_evidence, similarity
from ketools.knowledge.probing import Prober, with_relation

PROBER = Prober({"country": ["Spain", "the United Kingdom", "France"]})


def known(subject: str, prompt: str) -> EditRequest:
    return with_relation(PROBER.respelt(EditRequest(subject=subject, prompt=prompt, target_new="Lyon")))


@pytest.mark.parametrize(
    ("subject", "prompt"),
    [
        ("SPAIN", "The capital of SPAIN is"),
        ("spain", "the capital of spain is"),
        ("Spain.", "What is the capital of Spain."),
        ('"Spain"', 'The capital of "Spain" is'),
        ("the Spain", "The capital of the Spain is"),
        ("_Spain_", "The capital of _Spain_ is"),
        ("Ｓｐａｉｎ", "The capital of Ｓｐａｉｎ is"),
        ("Spain", "Name the capital city of Spain."),
        ("Spain", "The capital\nof Spain is"),
    ],
)
def test_every_typography_of_a_known_subject_is_the_same_fact(subject: str, prompt: str) -> None:
    request = known(subject, prompt)
    assert (request.subject, request.relation, request.key) == ("Spain", "capital", "spain|capital")
    assert "Spain" in request.prompt


def test_the_prompt_tells_more_of_a_name_than_the_subject_given() -> None:
    spans = [known(s, "The capital of the United Kingdom is") for s in ("United Kingdom", "the United Kingdom")]
    assert {request.key for request in spans} == {"united kingdom|capital"}
    named = [known(s, "Who is Barack Obama married to?") for s in ("Obama", "Barack Obama")]
    assert {request.key for request in named} == {"barack obama|spouse"}


def test_of_an_unknown_relation_the_prompt_identifies_the_fact() -> None:
    one = EditRequest(subject="O'Connor", prompt="The dog of O'Connor is called", target_new="Rex")
    other = EditRequest(subject="O’Connor", prompt="the dog of O’CONNOR is called", target_new="Bo")
    third = EditRequest(subject="O'Connor", prompt="The cat of O'Connor is called", target_new="Bo")
    assert one.key == other.key != third.key


@pytest.mark.parametrize(
    "text", ["法国的首都是哪里？", "ما هي عاصمة فرنسا؟", "भारत की राजधानी क्या है।", "フランスの首都はどこですか"]
)
def test_a_question_is_known_in_other_scripts(text: str) -> None:
    assert is_question(text)


def test_line_breaks_of_every_kind_are_plain_ones() -> None:
    assert clean_text("capital of\r\nSpain?\r") == "capital of\nSpain?"
    with pytest.raises(ValueError, match="control characters"):
        clean_text("a\x00b")


def test_evidence_tells_a_namesake_from_a_slip_of_the_pen() -> None:
    namesake = name_evidence("John D. Terry", "In which place did John Derry pass away?")
    assert not namesake.whole
    assert namesake.missing > 0.3
    slip = name_evidence("Mehrez Berriri", "What is the gender of Mehrez Berririri?")
    assert slip.near > 0.85 > slip.share
    assert name_evidence("York", "the mayor of New York").part
    assert similarity("1974", "1975") == 0
    assert similarity("niger", "nigeria") == 0
