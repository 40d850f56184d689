"""Questions taken apart by templates and by similarity."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ketools.knowledge.relations import RELATIONS, Relation
from ketools.multihop.parsing import parse, similar, type_checked
from ketools.retrieval import MiniLMEncoder

PUBLIC = [relation for relation in RELATIONS.values() if not relation.private]


@st.composite
def chains(draw: st.DrawFn) -> tuple[Relation, ...]:
    """A type-correct chain of one to four relations."""
    chain = [draw(st.sampled_from(PUBLIC))]
    for _ in range(draw(st.integers(0, 3))):
        following = [r for r in PUBLIC if r.domain == chain[-1].range]
        if not following:
            break
        chain.append(draw(st.sampled_from(following)))
    return tuple(chain)


@settings(max_examples=60)
@given(chains(), st.lists(st.booleans(), min_size=4, max_size=4), st.sampled_from(["Ann Lee", "France", "Tunaworks"]))
def test_what_the_templates_write_they_read_again(chain: tuple[Relation, ...], clauses: list[bool], name: str) -> None:
    phrase = name
    for relation, clause in zip(chain[:-1], clauses, strict=False):
        phrase = (relation.clause if clause else relation.noun).format(s=phrase)
    question = chain[-1].questions[0].format(s=phrase)
    assert (name, chain) in [(found.entity, found.relations) for found in parse(question)]


def test_chains_are_type_checked() -> None:
    capital, spouse, continent = RELATIONS["capital"], RELATIONS["spouse"], RELATIONS["continent"]
    assert type_checked((RELATIONS["citizenship"], capital)) and type_checked((capital, None, spouse))
    assert not type_checked((capital, spouse)) and not type_checked((spouse, continent))


@pytest.mark.parametrize(
    "question",
    [
        "Who is the head of state of Peru?",
        "What is the capital of the country where the song Hello was made?",
        "What is the name of the head of the country that Ann Lee is a citizen of?",
        "How are you?",
        "",
    ],
)
def test_a_question_that_templates_do_not_spell_gives_no_chain(question: str) -> None:
    assert parse(question) == []


def test_a_free_phrasing_is_read_by_similarity(encoder: MiniLMEncoder) -> None:
    found = similar("Which money do they pay with in the nation where Ann Lee is a citizen?", "Ann Lee", encoder)
    assert [r.name for r in found[0].relations] == ["citizenship", "currency"]
    assert similar("How tall is Ann Lee?", "Ann Lee", encoder) == []
