from __future__ import annotations

import pytest

from ketools.knowledge.relations import RELATIONS, Relation, match_prompt, rephrases

SUBJECT = "Zorvel"


def test_every_relation_has_four_clozes_and_four_questions() -> None:
    for relation in RELATIONS.values():
        assert len(relation.cloze) == 4
        assert len(relation.questions) == 4


def test_every_template_names_the_subject_exactly_once() -> None:
    for relation in RELATIONS.values():
        for template in (relation.noun, relation.clause, *relation.cloze, *relation.questions):
            assert template.count("{s}") == 1, template


def test_no_template_belongs_to_two_relations() -> None:
    templates = [t for r in RELATIONS.values() for t in (*r.cloze, *r.questions)]
    assert len(templates) == len(set(templates))


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=lambda relation: relation.name)
def test_a_prompt_made_from_a_template_is_matched_back(relation: Relation) -> None:
    for prompt in rephrases(relation, SUBJECT):
        assert match_prompt(prompt, SUBJECT) is relation


def test_matching_forgives_case_and_spaces() -> None:
    assert match_prompt("  what is the  capital of zorvel?", SUBJECT) is RELATIONS["capital"]


def test_a_prompt_about_somebody_else_or_about_nothing_known_is_not_matched() -> None:
    assert match_prompt("The capital of France is", SUBJECT) is None
    assert match_prompt("The favourite colour of Zorvel is", SUBJECT) is None


def test_inverses_point_back_and_swap_the_types() -> None:
    for relation in RELATIONS.values():
        if relation.inverse is not None:
            inverse = RELATIONS[relation.inverse]
            assert inverse.inverse == relation.name
            assert (inverse.domain, inverse.range) == (relation.range, relation.domain)


def test_a_statement_ends_with_its_target() -> None:
    assert RELATIONS["capital"].statement("France", "Lima") == "The capital of France is Lima"
