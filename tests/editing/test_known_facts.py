"""What a model knows of the bank, found by ranks, and the probes made of it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from ketools.core.errors import Cancelled, StorageError
from ketools.core.requests import EditRequest
from ketools.editing.known_facts import KnownFacts, touches
from ketools.engines.local import LocalEngine
from ketools.knowledge.bank import BankFact, FactBank
from ketools.knowledge.matching import says
from ketools.retrieval import MiniLMEncoder

BANK = FactBank.load()
FRANCE = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon")
ENCODER = MiniLMEncoder()


def some(*relations: str, most: int = 16, thai: int = 0) -> FactBank:
    """A bank of the first English facts of some relations, and of Thai ones."""
    english = [[f for f in BANK.facts if f.relation == r and f.language == "en"][:most] for r in relations]
    return FactBank((*chain(*english), *[f for f in BANK.facts if f.language == "th"][:thai]), "test")


def named(key: str) -> BankFact:
    return next(fact for fact in BANK.facts if fact.key == key)


@pytest.fixture(scope="module")
def engine(smollm2: Path) -> LocalEngine:
    return LocalEngine(smollm2)


@pytest.fixture(scope="module")
def known(engine: LocalEngine) -> KnownFacts:
    return KnownFacts(some("capital", "language", "opposite", "product", thai=8), engine, ENCODER)


def test_what_is_known_is_what_the_model_says_when_it_is_asked(known: KnownFacts, engine: LocalEngine) -> None:
    probes = [*known.neighbours(FRANCE, 8), *known.unrelated(FRANCE, 8)]
    assert {probe.chat for probe in probes} == {True, False}
    answers = engine.generate([probe.rendered() for probe in probes], max_new_tokens=16, stop=[".", "\n"])
    for probe, answer in zip(probes, answers, strict=True):
        assert answer.startswith(probe.said)
        assert probe.answer is not None
        assert probe.said.endswith(probe.answer)


def test_neighbours_are_the_nearest_in_meaning_and_never_the_edited_fact(known: KnownFacts) -> None:
    probes = known.neighbours(FRANCE, 4)
    assert len(probes) == 4
    assert all("capital" in probe.prompt and "France" not in probe.prompt for probe in probes)


def test_the_same_request_gets_the_same_probes_whatever_was_asked_before(
    known: KnownFacts, engine: LocalEngine
) -> None:
    known.facts()
    fresh = KnownFacts(known.bank, engine, ENCODER)
    assert fresh.neighbours(FRANCE, 4) == known.neighbours(FRANCE, 4)
    assert fresh.unrelated(FRANCE, 4) == known.unrelated(FRANCE, 4)


def test_unrelated_facts_are_of_other_relations(known: KnownFacts) -> None:
    probes = known.unrelated(FRANCE, 6)
    assert len(probes) >= 3
    assert not any("capital" in probe.prompt for probe in probes)


def test_other_facts_about_the_subject_are_asked_but_not_the_edited_one(engine: LocalEngine) -> None:
    known = KnownFacts(BANK, engine, ENCODER)
    (probe,) = known.same_subject(FRANCE, 4)
    assert says(probe.answer or "", "French")
    assert known.same_subject(EditRequest(subject="Nobody", prompt="Who is Nobody?", target_new="x"), 4) == ()


def test_a_language_that_the_model_does_not_know_is_given_up(known: KnownFacts) -> None:
    assert {fact.language for fact in known.facts()} == {"en"}


def test_the_search_ends_when_enough_is_known_and_goes_on_where_it_was_stopped(
    engine: LocalEngine, tmp_path: Path
) -> None:
    bank = some("capital", "opposite", most=8)

    def stop_late(done: int, total: int, message: str) -> None:
        if done:
            raise Cancelled("stopped by the caller")

    with pytest.raises(Cancelled):
        KnownFacts(bank, engine, ENCODER, tmp_path).facts(at_once=8, progress=stop_late)
    calls: list[int] = []
    resumed = KnownFacts(bank, engine, ENCODER, tmp_path)
    found = resumed.facts(at_once=8, progress=lambda done, total, message: calls.append(done))
    assert calls[1] > 0
    assert len(found) > calls[1]
    few = KnownFacts(bank, engine, ENCODER, tmp_path).facts(2, at_once=8)
    assert 2 <= len(few) <= 8


def test_what_was_found_is_kept_and_not_asked_again(engine: LocalEngine, tmp_path: Path) -> None:
    found = KnownFacts(some("product", most=3), engine, ENCODER, tmp_path).facts()
    closed = LocalEngine(engine.editable)
    closed.close()
    assert KnownFacts(some("product", most=3), closed, ENCODER, tmp_path).facts() == found


def test_a_damaged_file_is_asked_anew_and_an_unusable_place_is_named(engine: LocalEngine, tmp_path: Path) -> None:
    bank = some("product", most=3)
    KnownFacts(bank, engine, ENCODER, tmp_path).facts()
    (file,) = tmp_path.rglob("bank-test.json")
    whole = file.read_text()
    file.write_text(whole[:20])
    KnownFacts(bank, engine, ENCODER, tmp_path).facts()
    assert file.read_text() == whole
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="move the home"):
        KnownFacts(bank, engine, ENCODER, tmp_path / "file").facts()


@pytest.mark.parametrize(
    ("key", "touched"),
    [
        ("en|capital|France", True),
        ("en|country of birth|Napoleon Bonaparte", True),
        ("en|capital|Spain", False),
        ("en|opposite|hot", False),
        ("zh|capital|法国", True),
        ("zh|capital|日本", True),
        ("de|opposite|groß", False),
    ],
)
def test_facts_that_an_edit_may_change_are_left_out(key: str, touched: bool) -> None:
    assert touches(named(key), FRANCE) is touched


def test_the_new_target_and_what_the_prompt_names_count_as_well() -> None:
    house = EditRequest(subject="Ann Lee", prompt="The colour of the house of Ann Lee in Munich is", target_new="Spain")
    assert touches(named("en|country of a city|Barcelona"), house)
    assert touches(named("en|country of a city|Munich"), house)
    assert not touches(named("en|capital|Japan"), house)
