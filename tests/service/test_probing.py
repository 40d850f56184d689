"""The questions that verify an edit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ketools.core.requests import EditRequest, Kind, Probe, Trait
from ketools.knowledge.probing import Prober, with_relation
from ketools.knowledge.traits import classify, exemplar

SUBJECTS = {"country": ("France", "Japan", "Peru", "Ghana", "Spain", "Italy", "Chile"), "city": ("Paris", "Tokyo")}
REQUEST = with_relation(EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon"))


def test_the_relation_is_read_from_the_prompt() -> None:
    assert REQUEST.relation == "capital"
    asked = EditRequest(subject="France", prompt="What is the capital of France?", target_new="Lyon")
    assert with_relation(asked).key == REQUEST.key


def test_the_first_phrasing_is_the_prompt_and_both_forms_are_asked() -> None:
    phrasings = Prober(SUBJECTS).phrasings(REQUEST)
    assert phrasings[0].prompt == REQUEST.prompt
    assert {p.chat for p in phrasings} == {True, False}
    assert len({p.prompt for p in phrasings}) == len(phrasings)


def test_given_rephrases_and_probes_take_the_place_of_made_ones() -> None:
    probe = Probe(prompt="The capital of Peru is")
    request = REQUEST.model_copy(update={"rephrases": ("Where is France ruled from?",), "probes": (probe,)})
    prober = Prober(SUBJECTS)
    assert [p.prompt for p in prober.phrasings(request)] == [REQUEST.prompt, "Where is France ruled from?"]
    assert prober.locality(request) == (probe,)


def test_the_newest_other_edits_are_asked_too() -> None:
    others = [EditRequest(subject=f"Town {i}", prompt=f"The river of Town {i} is", target_new="Rye") for i in range(9)]
    asked = [p.prompt for p in Prober(SUBJECTS).locality(REQUEST, others) if p.kind == "live_edit"]
    assert asked == [f"The river of Town {i} is" for i in (5, 6, 7, 8)]


def test_locality_asks_neighbours_and_other_relations_of_the_subject_but_never_the_fact_itself() -> None:
    probes = Prober(SUBJECTS).locality(REQUEST)
    assert {p.kind for p in probes} == {"neighbour", "same_subject", "unrelated"}
    assert all("France" not in p.prompt for p in probes if p.kind == "neighbour")
    assert not {p.prompt for p in probes} & {p.prompt for p in Prober(SUBJECTS).phrasings(REQUEST)}


@given(st.text(min_size=1, max_size=20).filter(lambda t: t.strip() and t.isprintable()))
def test_probes_of_a_request_are_always_the_same(target: str) -> None:
    request = REQUEST.model_copy(update={"target_new": target})
    assert Prober(SUBJECTS).locality(request) == Prober(SUBJECTS).locality(request)


def test_what_follows_from_an_edit_is_the_way_back_and_the_new_objects_own_facts() -> None:
    mali = with_relation(EditRequest(subject="Brasilia", prompt="The country of Brasilia is", target_new="Mali"))
    found = {i.asked.prompt: i for i in Prober(SUBJECTS).implied(mali)}
    back = found["What is the capital of Mali?"]
    assert back.asked.answer == "Brasilia" and back.source is None
    onward = found["What is the currency of the country of Brasilia?"]
    assert onward.source is not None and onward.source.prompt == "What is the currency of Mali?"
    assert onward.asked.chat and onward.asked.answer is None


def test_nothing_follows_from_what_leads_nowhere_or_is_forgotten() -> None:
    euro = with_relation(EditRequest(subject="Japan", prompt="The currency of Japan is the", target_new="euro"))
    assert Prober(SUBJECTS).implied(euro) == ()
    assert Prober(SUBJECTS).implied(REQUEST.model_copy(update={"kind": Kind.ERASE})) == ()


def test_every_exemplar_is_recognised_as_its_trait() -> None:
    assert all(classify(exemplar("coffee", trait)) is trait for trait in Trait)
    assert classify("It is made of beans.") is None


def test_a_personality_edit_is_probed_on_other_topics() -> None:
    request = EditRequest(
        kind=Kind.PERSONALITY,
        subject="coffee",
        prompt="What do you think of coffee?",
        target_new=exemplar("coffee", Trait.POSITIVE),
        trait=Trait.POSITIVE,
    )
    probes = Prober({"topic": ("tea", "rain", "coffee")}).locality(request)
    assert {p.prompt for p in probes} == {"What do you think of tea?", "What do you think of rain?"}
