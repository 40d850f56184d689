"""Judging answers: tables of judged answers in eleven languages, and laws that hold for any name."""

from __future__ import annotations

import time
import unicodedata
from datetime import date
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ketools.knowledge.matching import exact_match, refuses, says

HERE = Path(__file__).parent
Row = tuple[str, bool, str, str, str | None]


def table(name: str) -> list[Row]:
    """The rows of a table: language, verdict, answer, target, old answer."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        if line.strip() and not line.startswith("#"):
            language, sign, rest = line.split(" ", 2)
            answer, target, old, *_ = [*(part.strip() for part in rest.split("|")), "", ""]
            rows.append((language, sign == "+", answer, target, old or None))
    return rows


JUDGED = table("judged_answers.txt")
LATER = table("judged_later.txt")
REFUSALS = table("refusals.txt")


@pytest.mark.parametrize(("language", "verdict", "answer", "target", "old"), [*JUDGED, *LATER])
def test_an_answer_is_judged_as_a_person_would(
    language: str, verdict: bool, answer: str, target: str, old: str | None
) -> None:
    assert says(answer, target, old=old) is verdict


@pytest.mark.parametrize(("language", "verdict", "answer"), [row[:3] for row in REFUSALS])
def test_a_refusal_is_known_in_any_words(language: str, verdict: bool, answer: str) -> None:
    assert refuses(answer) is verdict


def test_the_tables_are_large_and_hold_many_languages_and_denials() -> None:
    rows = [*JUDGED, *LATER]
    assert len(JUDGED) >= 200 and len(LATER) >= 60
    assert len({row[0] for row in rows}) >= 10
    assert sum(not row[1] for row in rows) >= 0.4 * len(rows)


@pytest.mark.parametrize(
    ("answer", "target", "equal"),
    [
        ("The Lyon!", "lyon", True),
        ("It is Lyon", "Lyon", False),
        ("  an  apple. ", "Apple", True),
        ("J.R.R. Tolkien", "JRR Tolkien", True),
        ("«Лион».", "лион", True),
        ("里昂。", "里昂", True),
        ("Lyons", "Lyon", False),
    ],
)
def test_exact_match_forgives_case_punctuation_and_articles_alone(answer: str, target: str, equal: bool) -> None:
    assert exact_match(answer, target) is equal


def test_an_alias_is_as_good_as_the_target() -> None:
    assert says("Он родился в Лионе.", "Lyon", aliases=["Лион"])
    assert not says("Он родился не в Лионе.", "Lyon", aliases=["Лион"])


def test_the_old_answer_inside_the_new_one_does_no_harm() -> None:
    assert says("It is New York.", "New York", old="York")
    assert says("York", "York", old="New York")
    assert not says("New York", "York", old="New York")


def test_an_answer_is_judged_in_well_under_a_millisecond() -> None:
    for row in JUDGED:
        says(row[2], row[3], old=row[4])
    began = time.process_time()
    for i in range(3):
        for _, _, answer, target, old in JUDGED:
            says(f"{answer}\n{i}", target, old=old)
    assert (time.process_time() - began) / (3 * len(JUDGED)) < 0.002  # 0.3 ms; room for a busy machine


@pytest.mark.parametrize("answer", ["Lyon " * 100_000, "not " * 50_000, "(" * 50_000, "1,000 " * 20_000, "'" * 9999])
def test_the_longest_answer_is_judged_in_bounded_time(answer: str) -> None:
    began = time.process_time()
    says(answer, "Lyon", old="Paris")
    refuses(answer)
    assert time.process_time() - began < 2


# --- laws ---

_LETTERS = st.sampled_from("abdefghklmnoprstuvw")
_LATIN = st.text(_LETTERS, min_size=5, max_size=9).map(str.capitalize)
_OTHERS = st.sampled_from(
    [
        "Lyon",
        "Saint-Étienne",
        "New Delhi",
        "São Paulo",
        "Лион",
        "Москва",
        "里昂",
        "東京",
        "リヨン",
        "القاهرة",
        "दिल्ली",
        "กรุงเทพ",
        "서울",
    ]
)
NAMES = st.one_of(_LATIN, st.builds("{} {}".format, _LATIN, _LATIN), _OTHERS)
NUMBERS = st.integers(min_value=0, max_value=10**9)

STATED = [
    "It is {}.",
    "“{}”",
    "{} is the answer.",
    "C'est {}.",
    "Es ist {}.",
    "Es {}.",
    "Это {}.",
    "答案是{}。",
    "{}です。",
    "{} है।",
]
DENIED = [
    "not {}", "It is not {}.", "It isn't {}.", "{} is not the answer.", "I do not think that it is {}.", "never {}",
    "nicht {}", "{} ist es nicht.", "no es {}", "Ce n'est pas {}.", "не {}", "不是{}", "{}ではない", "ليست {}",
    "{} नहीं", "{} değil", "ไม่ใช่{}", "{} is wrong.", "anything but {}", "Is it {}?",
]  # fmt: skip


@given(NAMES)
def test_a_name_says_itself_in_any_quotation_case_and_with_a_full_stop(name: str) -> None:
    for written in (
        name,
        f"{name}.",
        f'"{name}"',
        f"«{name}»",
        name.upper(),
        name.lower(),
        f"**{name}**",
        f" {name} \n",
    ):
        assert says(written, name), written


@given(NAMES)
def test_a_name_says_itself_in_other_typography(name: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name)
    for written in (wide, unicodedata.normalize("NFD", name), name.replace("-", "\u2011"), name.replace(" ", "\u00a0")):
        assert says(f"It is {written}.", name) and says(f"It is {name}.", written), written


@given(NAMES, st.sampled_from(STATED))
def test_a_stated_name_is_said(name: str, form: str) -> None:
    assert says(form.format(name), name)


@given(NAMES, st.sampled_from(DENIED))
def test_a_denial_never_counts(name: str, form: str) -> None:
    assert not says(form.format(name), name)


@given(_LATIN, _LATIN)
def test_of_two_names_the_one_that_is_not_denied_is_said(name: str, other: str) -> None:
    assume(name.lower()[:4] != other.lower()[:4])
    answer = f"It is {name}, not {other}."
    assert says(answer, name, old=other) and not says(answer, other, old=name)
    assert not says(f"{other} (formerly {name})", name, old=other)


@given(NUMBERS)
def test_a_number_says_itself_however_its_thousands_are_grouped(number: int) -> None:
    assert says(f"It is {number:,}.", str(number))
    assert says(f"Es sind {number:,}".replace(",", "."), str(number))
    assert not says(f"It is {number}7.", str(number))
    assert not says(f"It is {number}.5 now", str(number))


@given(st.dates(min_value=date(1000, 1, 1)))
def test_a_date_says_itself_in_every_form(day: date) -> None:
    forms = [f"{day:%Y-%m-%d}", f"{day:%d %B %Y}", f"{day:%B %d, %Y}", f"{day:%d.%m.%Y}"]
    for form in forms:
        assert all(says(other, form) for other in forms), form


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_can_be_judged(answer: str, target: str) -> None:
    says(answer, target)
    says(answer, target, old=answer)
    refuses(answer)
    exact_match(answer, target)


@given(st.text(min_size=1, max_size=20))
def test_any_text_with_letters_says_itself(text: str) -> None:
    assume(any(c.isalnum() for c in text) and "\n" not in text.strip())
    assert says(text, text)
