"""Where sentences end, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.sentences import first_statement, sentences


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Lyon. It is a city.", "Lyon."),
        ("Lyon\nIt is a city.", "Lyon"),
        ("St. Louis is a city. It is old.", "St. Louis is a city."),
        ("J. R. R. Tolkien wrote it. He did.", "J. R. R. Tolkien wrote it."),
        ("It weighs 3.5 kg. It is heavy.", "It weighs 3.5 kg."),
        ("He lives in the U.S. He is old.", "He lives in the U.S."),
        ("The U.S. Army came. It left.", "The U.S. Army came."),
        ("Dr. Who. He is old.", "Dr. Who."),
        ("Apple Inc. makes it. Yes.", "Apple Inc. makes it."),
        ("She lives in Washington, D.C. The city is large.", "She lives in Washington, D.C."),
        ("See fig. 3 below. Then go.", "See fig. 3 below."),
        ("Am 3. Mai 1990. Er lebt.", "Am 3. Mai 1990."),
        ("Ludwig XIV. von Frankreich. Er lebte.", "Ludwig XIV. von Frankreich."),
        ("Yahoo! is a company. It is old.", "Yahoo! is a company."),
        ("Hm... Lyon. Or so.", "Hm... Lyon."),
        ("1. Lyon\n2. Paris", "1. Lyon"),
        ("Lyon.It is a city", "Lyon."),
        ("example.com is it. Yes.", "example.com is it."),
        ("里昂。它是城市。", "里昂。"),
        ("里昂！它是城市。", "里昂！"),
        ("ल्यों। यह शहर है।", "ल्यों।"),
        ("ليون؟ نعم.", "ليون؟"),
        ("لاہور۔ شہر", "لاہور۔"),
        ("Он жил в г. Лион. Потом уехал.", "Он жил в г. Лион."),
        ('He said "Lyon." Then he left.', 'He said "Lyon."'),
        ("No. It is Paris.", "No."),
        ("The answer is no. 5 here. Yes.", "The answer is no. 5 here."),
        ("  ", ""),
    ],
)
def test_the_first_statement_ends_at_the_first_sentence_end(text: str, first: str) -> None:
    assert first_statement(text) == first


@given(st.text(max_size=200))
def test_the_first_statement_begins_the_text_and_is_its_own_first_statement(text: str) -> None:
    first = first_statement(text)
    assert text.strip().startswith(first)
    assert first_statement(first) == first


@given(st.text(max_size=200))
def test_sentences_hold_every_character_that_is_no_space(text: str) -> None:
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
