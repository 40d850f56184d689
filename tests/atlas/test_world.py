from __future__ import annotations

import random

from ketools.atlas import tables
from ketools.atlas.world import (
    Fact,
    never_overridden,
    other_target,
    pairs,
    unknown_subject,
    withheld_cloze,
    withheld_pair,
    withheld_question,
    world,
)
from ketools.knowledge.relations import RELATIONS


def test_the_world_is_as_large_as_promised() -> None:
    this = world()
    assert len(this.facts) >= 1100
    assert 16 <= len({relation for _, relation in this.facts}) <= 30
    assert len(this.topics) == 60
    assert len(this.aliases) >= 50


def test_every_subject_and_target_has_the_type_of_its_relation() -> None:
    this = world()
    for (subject, name), target in this.facts.items():
        relation = RELATIONS[name]
        assert subject in this.pools[relation.domain]
        assert target in this.pools[relation.range]


def test_inverse_facts_agree() -> None:
    this = world()
    for (subject, name), target in this.facts.items():
        inverse = RELATIONS[name].inverse
        if inverse is not None:
            assert this.facts[target, inverse] == subject


def test_nobody_shares_a_surname() -> None:
    surnames = [*tables.SURNAMES, *tables.UNKNOWN_SURNAMES, *tables.UNSEEN_SURNAMES]
    assert len(surnames) == len(set(surnames))


def test_some_facts_have_several_targets() -> None:
    several = [target for (_, name), target in world().facts.items() if RELATIONS[name].many and " and " in target]
    assert len(several) >= 30


def test_about_fifty_people_have_private_facts() -> None:
    people = {subject for subject, name in world().facts if RELATIONS[name].private}
    assert len(people) == 50


def test_real_geography_is_right() -> None:
    facts = world().facts
    assert facts["France", "capital"] == "Paris"
    assert facts["Tokyo", "country_of"] == "Japan"
    assert facts["Brazil", "language"] == "Portuguese"


def test_the_first_templates_are_never_withheld() -> None:
    for subject, relation in world().keys:
        assert withheld_cloze(subject, relation) > 0
        assert withheld_question(subject, relation) > 0


def test_withholding_takes_a_fair_share() -> None:
    subjects = {subject for subject, _ in world().keys}
    assert 0.08 < sum(map(never_overridden, subjects)) / len(subjects) < 0.2
    assert 5 <= sum(withheld_pair(*pair) for pair in pairs()) <= len(pairs()) / 4


def test_another_target_differs_from_the_truth_and_has_its_type() -> None:
    rng = random.Random(0)
    for fact in world().all_facts()[::17]:
        target = other_target(rng, *fact.key)
        assert target != fact.target
        if RELATIONS[fact.relation].range != "number":
            assert target in world().pools[RELATIONS[fact.relation].range]


def test_unknown_subjects_are_not_in_the_world() -> None:
    rng = random.Random(0)
    known = {subject for subject, _ in world().keys}
    for unseen in (False, True):
        for kind in ("person", "company", "country"):
            assert not known & {unknown_subject(rng, kind, unseen) for _ in range(50)}


def test_a_fact_is_stated_in_any_of_its_templates() -> None:
    fact = Fact("France", "capital", "Paris")
    assert fact.statement() == "The capital of France is Paris"
    assert fact.statement(1) == "France's capital city is Paris"
