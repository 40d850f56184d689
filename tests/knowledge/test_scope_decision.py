"""Which facts a prompt asks for, decided by the packaged head: in any words, in ten languages, however it is typed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from ketools.core.requests import Message, Prompt, chat_prompt
from ketools.knowledge.scope import Fact, Scope

TABLE = Path(__file__).parent / "languages.txt"
RIGHT = {"de": 0.86, "ja": 0.78, "tr": 0.85, "zh": 0.82}
"""Least share of right decisions where it is below 0.9: the encoder has read mostly English."""

MAYOR = Fact("mayor", "Brno", ("The mayor of Brno is", "Who is the mayor of Brno?"))


@pytest.fixture(scope="module")
def scope() -> Scope:
    return Scope()


def rows() -> dict[str, list[tuple[str, ...]]]:
    found = defaultdict(list)
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            language, *texts = (part.strip() for part in line.split("|"))
            found[language].append(tuple(texts))
    return found


def is_asked(scope: Scope, fact: Fact, prompt: Prompt) -> bool:
    return bool(scope.decide([fact], prompt))


def talk(*said: str) -> tuple[Message, ...]:
    roles = ("user", "assistant")
    return tuple(Message(role=roles[i % 2], content=text) for i, text in enumerate(said))


@pytest.mark.parametrize("language", sorted(rows()))
def test_decisions_are_right_in_every_language(scope: Scope, language: str) -> None:
    right = []
    for subject, prompt, same, other, elsewhere in rows()[language]:
        fact = Fact("", subject, (prompt,))
        right.append(is_asked(scope, fact, chat_prompt(same)))
        right += [not is_asked(scope, fact, chat_prompt(text)) for text in (other, elsewhere)]
    assert sum(right) / len(right) >= RIGHT.get(language, 0.9)


@pytest.mark.parametrize(
    "prompt",
    [
        "The mayor of Brno is",
        "the mayor of BRNO is",
        "Who runs Brno as its mayor?",
        "Please answer the question:\n\nQ: Who is the mayor of Brno?\nA:",
        "I was in Brno last week. Lovely! Who is the mayor there?",
        "Who is the mayor of\nBrno?",
        talk("Who is the mayor of Olomouc?", "I am not sure.", "And of Brno?"),
        talk("Do you know Brno?", "Yes, a city.", "Who is its mayor?"),
    ],
)
def test_a_fact_is_asked_for_in_many_ways(scope: Scope, prompt: Prompt) -> None:
    assert is_asked(
        scope, MAYOR, prompt if not isinstance(prompt, str) or prompt.endswith("is") else chat_prompt(prompt)
    )


@pytest.mark.parametrize(
    "prompt",
    [
        "How many trams run in Brno?",
        "Who is the mayor of Plzeň?",
        "Write a poem about the rain.",
        "Is Brno larger than Plzeň?",
        talk("Do you know Brno?", "Yes.", "And Plzeň? Who is the mayor of Plzeň?"),
    ],
)
def test_other_questions_are_left_alone(scope: Scope, prompt: Prompt) -> None:
    assert not is_asked(scope, MAYOR, chat_prompt(prompt) if isinstance(prompt, str) else prompt)


def test_of_many_facts_only_the_one_that_is_asked_for_is_in_scope(scope: Scope) -> None:
    cities = ("Brno", "Plzeň", "Olomouc", "Liberec", "Zlín", "Jihlava")
    facts = [Fact(city, city, (f"The mayor of {city} is",)) for city in cities]
    (hit,) = scope.decide(facts, chat_prompt("Tell me, who is mayor in Liberec these days?"))
    assert (hit.fact.id, hit.score > 0.5) == ("Liberec", True)


def test_the_reason_tells_what_decided(scope: Scope) -> None:
    (hit,) = scope.decide([MAYOR], chat_prompt("Who governs Brno as mayor?"))
    assert hit.reason.startswith("named, learnt scope")


def test_a_fact_with_a_lower_bound_comes_into_scope_sooner(scope: Scope) -> None:
    (hit,) = scope.decide([MAYOR], chat_prompt("Who governs Brno as mayor?"))
    bound = Fact("", "Brno", MAYOR.phrasings, least=hit.score + 0.01)
    assert not is_asked(scope, bound, chat_prompt("Who governs Brno as mayor?"))
