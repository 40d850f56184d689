"""IKE's demonstrations: their form, their proportions, their order."""

from __future__ import annotations

from collections import Counter

import pytest

from ketools.atlas.world import world
from ketools.core.requests import EditRequest, Kind, Trait, chat_prompt
from ketools.layers.kinds.note import Note
from ketools.notes import Budget, DemonstrationPool, NoteBook, budget_of
from ketools.notes.demonstrations import COMMON_FACTS, quota
from ketools.retrieval import MiniLMEncoder

LIMA = EditRequest(subject="France", prompt="The capital of France is", target_new="Lima")
PESO = EditRequest(subject="France", prompt="The currency of France is the", target_new="peso")
NOTE = ("e", Note("ike", LIMA))


def lead(count: int = 4) -> list[str]:
    book = NoteBook([NOTE], budget=Budget(demonstrations=count))
    prompt = book.prepare("What is the capital of France?").prompt
    assert isinstance(prompt, str)
    return prompt.split("\n\n")


@pytest.mark.parametrize("count", [0, 1, 4, 32, 64])
def test_kinds_come_in_the_proportions_of_the_paper(count: int) -> None:
    shares = dict(quota(count))
    assert sum(shares.values()) == count
    if count % 32 == 0:
        assert shares == {"copy": count // 8, "update": 3 * count // 8, "retain": count // 2}


def test_a_prompt_ends_with_the_facts_own_copy_and_then_with_the_question() -> None:
    *demonstrations, own, last = lead()
    assert own == "New Fact: The capital of France is Lima\nPrompt: The capital of France is Lima"
    assert last == "New Fact: The capital of France is Lima\nPrompt: What is the capital of France?"
    assert len(demonstrations) == 4
    for text in demonstrations:
        first, second = text.split("\n")
        assert first.startswith("New Fact: ")
        assert second.startswith("Prompt: ")


def test_without_demonstrations_only_the_new_fact_is_told() -> None:
    assert lead(0) == ["New Fact: The capital of France is Lima\nPrompt: What is the capital of France?"]


def test_demonstrations_never_speak_of_the_edited_names() -> None:
    assert not any("France" in text or "Lima" in text for text in lead(16)[:-2])


def test_each_kind_answers_as_the_new_fact_demands() -> None:
    pool = DemonstrationPool.from_facts()
    for d in pool.choose("The capital of France is Lima", "capital", 24):
        told = d.fact.rsplit(" ", 1)[1]
        assert (d.answer.rsplit(" ", 1)[-1] == told) == (d.kind != "retain")
        assert d.fact.startswith(d.prompt) == (d.kind == "copy")


def test_the_most_similar_demonstrations_are_chosen_and_stand_last() -> None:
    encoder = MiniLMEncoder()
    fact = "The capital of France is Lima"
    chosen = DemonstrationPool.from_facts().choose(fact, "capital", 8, encoder=encoder)
    similarity = encoder.encode([d.fact for d in chosen]) @ encoder.encode([fact])[0]
    assert list(similarity) == sorted(similarity)
    assert Counter(d.kind for d in chosen) == dict(quota(8))
    assert {d.relation for d in chosen[-3:]} == {"capital"}


def test_the_facts_of_the_default_pool_are_true_in_the_bundled_world() -> None:
    assert all(world().facts[subject, relation] == target for subject, relation, target in COMMON_FACTS)


def test_private_facts_are_never_demonstrated() -> None:
    facts = [(f"Ann {i}", "address", f"{i} Oak Street") for i in range(4)]
    assert DemonstrationPool.from_facts(facts).choose("x", None, 8) == []


def test_further_facts_in_scope_become_their_own_copy_demonstrations() -> None:
    book = NoteBook([("a", Note("ike", PESO)), ("b", Note("ike", LIMA))], budget=Budget(demonstrations=0))
    got = book.prepare(chat_prompt("What is the capital of France? What is the currency of France?"))
    assert got.used == ("a", "b")
    assert got.prompt[-1]["content"].startswith(  # type: ignore[index]
        "New Fact: The currency of France is the peso\nPrompt: The currency of France is the peso\n\n"
        "New Fact: The capital of France is Lima\nPrompt: What is the capital"
    )


def test_a_manner_of_speaking_is_imagined_under_ike_too() -> None:
    request = EditRequest(
        kind=Kind.PERSONALITY,
        subject="jazz",
        prompt="What do you think of jazz?",
        target_new="I love jazz.",
        trait=Trait.POSITIVE,
    )
    got = NoteBook([("e", Note("ike", request))]).prepare("What do you think of jazz?")
    assert got.prompt == "Imagine that you feel positive about jazz. What do you think of jazz?"


def test_demonstrations_are_dropped_from_the_front_when_the_budget_is_short() -> None:
    book = NoteBook([NOTE], budget=Budget(characters=120, demonstrations=8))
    prompt = book.prepare("What is the capital of France?").prompt
    blocks = str(prompt).split("\n\n")
    assert blocks[-1].startswith("New Fact: The capital of France is Lima")
    assert sum(map(len, blocks[:-1])) <= 120


def test_a_budget_in_tokens_of_the_served_model_is_kept() -> None:
    def count(text: str) -> int:
        return len(text.split())

    for tokens in (20, 60, 200):
        budget = Budget(characters=100_000, demonstrations=16, tokens=tokens, count=count)
        injected = NoteBook([NOTE], budget=budget).prepare("What is the capital of France?").prompt
        assert isinstance(injected, str)
        assert count(injected.removesuffix("What is the capital of France?")) <= tokens
        assert injected.endswith("New Fact: The capital of France is Lima\nPrompt: What is the capital of France?")


def test_a_large_context_takes_as_many_demonstrations_as_the_paper() -> None:
    assert budget_of(8192, len).demonstrations == 32
    assert budget_of(512, len).demonstrations == 4
