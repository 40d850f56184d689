"""The packaged bank of facts: what every row must satisfy, its format, and questions about any subject."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest

from ketools.core.errors import InvalidRequest
from ketools.core.requests import EditRequest
from ketools.knowledge.bank import FactBank, in_rounds, language_of, subject_questions
from ketools.knowledge.bank.facts import parse

BANK = FactBank.load()
SCRIPTS = {
    "ar": {"ARABIC"},
    "hi": {"DEVANAGARI"},
    "ja": {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"},
    "ru": {"CYRILLIC"},
    "th": {"THAI"},
    "zh": {"CJK"},
}
LATIN_ANSWERS = {"translation", "chemical symbol"}


def scripts(text: str) -> set[str]:
    names = (unicodedata.name(c, "").split(" ")[0] for c in text if c.isalpha())
    return {name.removesuffix("-UNIFIED") for name in names}


def test_the_bank_has_a_thousand_facts_of_sixty_relations_in_eleven_languages() -> None:
    languages = Counter(fact.language for fact in BANK.facts)
    assert len(BANK.facts) >= 1000
    assert len(BANK.relations) >= 60
    assert len(languages) == 11
    assert languages.pop("en") >= 600
    assert min(languages.values()) >= 40


def test_every_relation_has_at_least_five_facts() -> None:
    counts = Counter(fact.relation for fact in BANK.facts)
    assert [relation for relation, n in counts.items() if n < 5] == []


def test_every_question_and_every_cloze_names_its_subject() -> None:
    for fact in BANK.facts:
        for text in (fact.question, fact.cloze, fact.opening):
            assert fact.named.lower() in text.lower(), fact


def test_a_fact_is_told_once() -> None:
    assert [key for key, n in Counter(fact.key for fact in BANK.facts).items() if n > 1] == []
    for form in ("question", "cloze"):
        texts = Counter(getattr(fact, form) for fact in BANK.facts)
        assert [text for text, n in texts.items() if n > 1] == []


def test_answers_are_short_and_not_in_their_prompts_already() -> None:
    for fact in BANK.facts:
        assert 1 <= len(fact.answer) <= 45, fact
        assert len(set(fact.answers)) == len(fact.answers), fact
        assert not fact.cloze.endswith(fact.answer), fact


def test_texts_are_clean_and_questions_end_as_such() -> None:
    for fact in BANK.facts:
        for text in (fact.subject, fact.named, fact.question, fact.cloze, fact.opening, *fact.answers):
            assert text == unicodedata.normalize("NFC", " ".join(text.split())), fact
            assert "{" not in text and "|" not in text and "[" not in text, fact
        assert fact.question[-1] in "?？؟", fact
        assert fact.cloze[-1] not in "?？؟.。", fact


def test_prompts_and_answers_are_in_the_script_of_their_language() -> None:
    for fact in BANK.facts:
        own = SCRIPTS.get(fact.language, {"LATIN"})
        assert scripts(fact.question) <= own and scripts(fact.cloze) <= own, fact
        if fact.relation not in LATIN_ANSWERS or fact.language not in SCRIPTS:
            assert all(scripts(answer) <= own for answer in fact.answers), fact


def test_a_statement_joins_opening_and_answer_as_the_script_does() -> None:
    by_key = {fact.key: fact for fact in BANK.facts}
    assert by_key["en|capital|France"].stated("Paris") == "The capital of France is Paris"
    assert by_key["zh|capital|法国"].stated("巴黎") == "法国的首都是巴黎"
    assert by_key["ru|capital|Франция"].cloze == "Столица Франции —"


def test_rounds_take_one_fact_of_every_group_first() -> None:
    groups = {(fact.language, fact.relation) for fact in BANK.facts}
    first = in_rounds(BANK.facts, lambda fact: (fact.language, fact.relation))[: len(groups)]
    assert {(fact.language, fact.relation) for fact in first} == groups


@pytest.mark.parametrize(
    "text",
    ["France = Paris", "# capital\n: The capital of {} is\nFrance = Paris", "# a\n? {}?\n: {} is\nFrance: Paris"],
)
def test_a_row_that_is_no_fact_is_named(text: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"en\.txt, line {len(text.splitlines())}"):
        list(parse(text, "en"))


@pytest.mark.parametrize("language", sorted({fact.language for fact in BANK.facts}))
def test_most_prompts_are_taken_for_their_own_language(language: str) -> None:
    texts = [text for fact in BANK.facts if fact.language == language for text in (fact.question, fact.cloze)]
    right = [language_of(text) == language for text in texts]
    assert sum(right) / len(right) >= 0.9


@pytest.mark.parametrize(
    ("subject", "prompt", "start"),
    [
        ("Ann Lee", "Who does Ann Lee work for?", "Is Ann Lee a person"),
        ("安娜", "安娜在哪里工作？", "安娜是人"),
        ("Frankreich", "Die Hauptstadt von Frankreich ist", "Ist Frankreich"),
    ],
)
def test_any_subject_can_be_asked_about_in_the_language_of_the_prompt(subject: str, prompt: str, start: str) -> None:
    probes = subject_questions(EditRequest(subject=subject, prompt=prompt, target_new="x"))
    assert probes[0].prompt.startswith(start)
    assert len(probes) == 5
    assert all(subject in probe.prompt and probe.chat and probe.answer is None for probe in probes)
    assert [probe.kind for probe in probes] == ["bank_subject"] * 4 + ["about"]
