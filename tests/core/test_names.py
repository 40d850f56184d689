"""Names in any script and typography."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ketools.core.names import as_written, canonical, find, longest_span, masked, ordinary_spellings, same_name
from ketools.core.requests import EditRequest

SAME = [
    ("Spain", "SPAIN"),
    ("Spain", "spain"),
    ("Spain", "Spain."),
    ("Spain", '"Spain"'),
    ("Spain", "the Spain"),
    ("Spain", "_Spain_"),
    ("Spain", "*Spain*"),
    ("Spain", "“Spain”"),
    ("Spain", "«Spain»"),
    ("Spain", "Ｓｐａｉｎ"),
    ("Spain", "Spa\u00adin"),
    ("Spain", "Spain\u200b"),
    ("Spain", "Spain's"),
    ("Spain", "Spain’s"),
    ("Spain", " Spain\n"),
    ("Williams", "Williams'"),
    ("France", "la France"),
    ("Espagne", "l’Espagne"),
    ("Donau", "die Donau"),
    ("United Kingdom", "the  United\nKingdom"),
    ("O'Connor", "O’Connor"),
    ("O'Connor", "OʼConnor"),
    ("O'Connor", "O`Connor"),
    ("Jean-Luc Picard", "Jean‑Luc Picard"),
    ("Jean-Luc Picard", "Jean–Luc Picard"),
    ("Jean-Luc Picard", "jean luc picard"),
    ("Beyoncé", "Beyonce"),
    ("Bélia", unicodedata.normalize("NFD", "Bélia")),
    ("Łódź", "Lodz"),
    ("Straße", "STRASSE"),
    ("İstanbul", "istanbul"),
    ("Москва", "МОСКВА"),
    ("Фёдор", "Федор"),
    ("العراق", "عراق"),
    ("أحمد", "احمد"),
    ("서울", unicodedata.normalize("NFD", "서울")),
    ("がん", unicodedata.normalize("NFD", "がん")),
    ("U.S.", "US"),
    ("J. R. R. Tolkien", "JRR Tolkien"),
    ("Simon & Garfunkel", "Simon and Garfunkel"),
]
OTHER = [
    ("John D. Terry", "John Derry"),
    ("Karagümrük", "Saray Gümüşoluk"),
    ("York", "Yorkshire"),
    ("Niger", "Nigeria"),
    ("Austria", "Australia"),
    ("Paz", "La Paz"),
    ("C", "C++"),
    ("C#", "C++"),
    ("かん", "がん"),
    ("भारत", "भारती"),
    ("法国", "德国"),
    ("King Charles II", "King Charles III"),
    ("79 George Street", "97 George Street"),
    ("!!!", "???"),
]


@pytest.mark.parametrize(("a", "b"), SAME)
def test_typography_does_not_change_a_name(a: str, b: str) -> None:
    assert same_name(a, b)


@pytest.mark.parametrize(("a", "b"), OTHER)
def test_another_name_stays_another(a: str, b: str) -> None:
    assert not same_name(a, b)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("O'Connor", "Who is O’Connor?"),
        ("O’Connor", "who is o'connor"),
        ("Jean-Luc Picard", "Who played Jean‑Luc Picard?"),
        ("Beyoncé", "How old is beyonce's sister?"),
        ("France", "Name the capital of _France_."),
        ("Dune", 'Who wrote "Dune"?'),
        ("France", "The capital of Ｆｒａｎｃｅ"),
        ("Spain", "What is the capital of\nSpain?"),
        ("New York", "the mayor of New\r\nYork"),
        ("Bélia", unicodedata.normalize("NFD", "Où est Bélia ?")),
        ("法国", "法国的首都是哪里？"),
        ("フランス", "フランスの首都はどこですか"),
        ("프랑스", "프랑스의 수도는 어디인가요?"),
        ("ประเทศไทย", "เมืองหลวงของประเทศไทยคือ"),
        ("भारत", "भारत की राजधानी क्या है?"),
        ("فرنسا", "ما هي عاصمة فرنسا؟"),
        ("فرنسا", "العاصمة لفرنسا وباريس"),
        ("العراق", "ما العملة للعراق؟"),
        ("العراق", "والعراق؟"),
        ("Frankreich", "Wie heißt Frankreichs Hauptstadt?"),
        ("Москва", "Кто мэр Москвы?"),
        ("Франция", "Какой город является столицей Франции?"),
        ("Иван Петров", "Какой номер телефона у Ивана Петрова?"),
        ("Türkiye", "Türkiye'nin başkenti neresidir?"),
        ("Ankara", "Ankaranın nüfusu kaç?"),
        ("US", "the president of the US"),
        ("the United Kingdom", "the capital of the United Kingdom"),
        ("Espagne", "la capitale de l'Espagne"),
    ],
)
def test_a_name_is_found_in_the_forms_that_a_language_gives_it(name: str, text: str) -> None:
    assert find(name, text)
    assert masked(name, text, "{s}").count("{s}") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("York", "the sights of Yorkshire"),
        ("Niger", "the capital of Nigeria"),
        ("Iran", "an Iranian film"),
        ("Иран", "иранский фильм"),
        ("US", "tell us the capital"),
        ("Roma", "the romans"),
        ("Adam", "John Adams"),
        ("イラン", "イランドの首都"),
        ("John D. Terry", "In which place did John Derry die?"),
        ("C", "Is C++ fast?"),
        ("New York", "something new. York is old"),
    ],
)
def test_a_name_is_not_found_inside_another_word(name: str, text: str) -> None:
    assert not find(name, text)


@pytest.mark.parametrize(
    ("name", "text"), [("York", "the mayor of New York"), ("Spain", "Mary-Spain"), ("France", "Radio France Culture")]
)
def test_a_part_of_a_longer_name_is_told_from_the_name(name: str, text: str) -> None:
    assert [span.whole for span in find(name, text)] == [False]
    assert masked(name, text, "{s}", whole=True) == text


def test_an_article_in_capitals_makes_no_longer_name() -> None:
    text = "Which country is the author of The Glass Ferry a citizen of?"
    assert masked("The Glass Ferry", text, "{s}", whole=True) == "Which country is the author of {s} a citizen of?"
    assert masked("Glass Ferry", text, "{s}", whole=True) == "Which country is the author of The {s} a citizen of?"


@pytest.mark.parametrize(
    ("subject", "prompt", "written"),
    [
        ("France.", "Name the capital city of France.", "France"),
        ('"Dune"', "The author of Dune is", "Dune"),
        ("O'Connor", "Who is O’Connor?", "O’Connor"),
        ("Washington D.C.", "The mayor of Washington D.C. is", "Washington D.C."),
        ("McDonald's", "The head of McDonald's is", "McDonald's"),
        ("Yahoo!", "The head of Yahoo! is", "Yahoo!"),
        ("法国", "法国的首都是", "法国"),
        ("France", "THE CAPITAL OF FRANCE IS", "FRANCE"),
        ("Bélia", unicodedata.normalize("NFD", "The capital of Bélia is"), "Bélia"),
    ],
)
def test_a_request_spells_its_subject_as_its_prompt_does(subject: str, prompt: str, written: str) -> None:
    request = EditRequest(subject=subject, prompt=prompt, target_new="Lyon")
    assert request.subject == written
    assert request.subject in request.prompt


def test_a_prompt_without_the_subject_is_refused() -> None:
    assert as_written("Spain", "The capital of France is") is None
    with pytest.raises(ValueError, match="does not contain the subject"):
        EditRequest(subject="Spain", prompt="The capital of France is", target_new="Lyon")


def test_the_longest_span_takes_the_article_of_the_prompt() -> None:
    assert longest_span("United Kingdom", "The capital of the United Kingdom is") == "the United Kingdom"
    assert longest_span("Obama", "The wife of Barack Obama is") == "Barack Obama"
    assert longest_span("France", "The capital of France is") == "France"


def test_a_name_without_capitals_or_with_nothing_else_has_an_ordinary_spelling() -> None:
    assert ordinary_spellings("spain") == ("spain", "Spain")
    assert ordinary_spellings("UNITED KINGDOM") == ("UNITED KINGDOM", "United Kingdom")
    assert ordinary_spellings("NATO") == ("NATO",)


NAMES = st.text(st.characters(categories=["Lu", "Ll", "Lo", "Nd", "Mn"], max_codepoint=0x9FFF), min_size=1, max_size=20)


@given(NAMES)
def test_the_canonical_form_of_a_canonical_form_is_itself(name: str) -> None:
    once = canonical(name)
    assert once
    assert canonical(once) == once


@given(NAMES)
def test_normal_forms_and_quotation_marks_change_no_name(name: str) -> None:
    for other in (unicodedata.normalize("NFD", name), unicodedata.normalize("NFC", name), f"“{name}”", f"{name}."):
        assert canonical(other) == canonical(name)


@given(st.sampled_from([name for name, _ in SAME]), st.sampled_from(["Who knows {}?", "{} is", "de {} et"]))
def test_a_name_is_found_where_it_was_put(name: str, template: str) -> None:
    assert find(name, template.format(name))
