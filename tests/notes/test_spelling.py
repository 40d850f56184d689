"""Slips of the pen: what is put right and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.notes.spelling import Speller

SPELLER = Speller(["Zoe Ashford", "Paraguay", "Orbitex", "Sepp Maier"])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("What is the captial of France?", "What is the capital of France?"),
        ("Whcih company does she lead?", "Which company does she lead?"),
        ("Who runs Orbtiex?", "Who runs Orbitex?"),
        ("Where is Zoe Ashofrd's house?", "Where is Zoe Ashford's house?"),
        ("What is spoken in Praguay?", "What is spoken in Paraguay?"),
    ],
)
def test_a_slip_that_can_mean_one_thing_is_put_right(typed: str, meant: str) -> None:
    assert SPELLER.corrected(typed) == meant


@pytest.mark.parametrize(
    "text",
    [
        "What position does Sepp Maier play?",
        "What is the capital of Uruguay?",
        "Who is Zoe Ashworth?",
        "What word has the most letters?",
        "Who runs Orbiter?",
        "Is Nigeria larger than Niger?",
        "Who is Mr Capitol?",
        "",
    ],
)
def test_words_of_their_own_are_left_alone(text: str) -> None:
    assert SPELLER.corrected(text) == text


@given(st.text(max_size=60))
def test_correcting_twice_changes_nothing_more(text: str) -> None:
    once = SPELLER.corrected(text)
    assert SPELLER.corrected(once) == once


def test_two_names_that_a_slip_may_mean_are_not_guessed_between() -> None:
    assert Speller(["Marlton", "Marltan"]).corrected("Who runs Marltn?") == "Who runs Marltn?"
