"""What verification asks, and how strong its evidence is, on the bundled model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ketools.atlas import weights_path
from ketools.core.requests import EditRequest, Probe, Prompt
from ketools.editing.verification import Verifier
from ketools.engines.local import LocalEngine
from ketools.knowledge.bank import KnownProbe
from ketools.knowledge.probing import Prober
from ketools.layers.composition import BASE, EditLayer, LiveEdit
from ketools.layers.kinds.note import Note
from ketools.notes import NoteInjector

UNTOUCHED = tuple(
    Probe(prompt=f"The capital of {name} is", kind="neighbour") for name in ("Peru", "Japan", "Italy", "Spain")
)
FRANCE = EditRequest(
    subject="France",
    prompt="The capital of France is",
    target_new="Lyon",
    relation="capital",
    rephrases=("What is the capital of France?", "France's capital is"),
    probes=UNTOUCHED,
)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    made = LocalEngine(weights_path())
    yield made
    made.close()


@pytest.fixture
def verifier(engine: LocalEngine) -> Verifier:
    return Verifier(engine, Prober(), NoteInjector())


def noted(request: EditRequest) -> EditLayer:
    return EditLayer((LiveEdit("e", "1" * 64, Note("ice", request)),))


def test_what_an_edit_does_not_touch_is_not_asked(verifier: Verifier, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    generate = verifier.engine.generate

    def watched(prompts: Sequence[Prompt], *arguments: Any, **options: Any) -> list[str]:
        asked.extend(prompts)
        return generate(prompts, *arguments, **options)

    monkeypatch.setattr(verifier.engine, "generate", watched)
    evidence = verifier.verify(FRANCE, BASE, noted(FRANCE)).evidence
    assert (evidence.locality, evidence.locality_n) == (1.0, 4)
    assert not any("Peru" in str(prompt) for prompt in asked)


def test_other_wordings_and_enough_of_the_rest_make_strong_evidence(verifier: Verifier) -> None:
    evidence = verifier.verify(FRANCE, BASE, noted(FRANCE)).evidence
    assert evidence.strength == "strong"
    assert {(s.kind, s.source, s.n) for s in evidence.shares} == {
        ("direct", "request", 1),
        ("rephrase", "caller", 2),
        ("neighbour", "caller", 4),
    }


@pytest.mark.parametrize("fewer", [{"rephrases": FRANCE.rephrases[:1]}, {"probes": UNTOUCHED[:3]}])
def test_too_little_asked_is_weak_evidence(verifier: Verifier, fewer: dict[str, object]) -> None:
    request = FRANCE.model_copy(update=fewer)
    assert verifier.verify(request, BASE, noted(request)).evidence.strength == "weak"


def test_an_answer_that_weights_change_is_told_with_what_it_was(verifier: Verifier) -> None:
    peru = EditRequest(subject="Peru", prompt="The capital of Peru is", target_new="Cusco", relation="capital")
    both = noted(FRANCE).with_edits(LiveEdit("p", "2" * 64, Note("ice", peru)))
    evidence = verifier.verify(FRANCE, BASE, both).evidence
    assert evidence.locality == 0.75
    (failure,) = [f for f in evidence.failures if f.kind == "neighbour"]
    assert (failure.prompt, failure.answer) == ("The capital of Peru is", "Cusco.")


PERU = EditRequest(subject="Peru", prompt="The capital of Peru is", target_new="Cusco", relation="capital")
LIMA = KnownProbe(prompt=PERU.prompt, kind="bank_neighbour", answer="Lima", said="Lima")


def layer_of(request: EditRequest, method: str) -> EditLayer:
    return EditLayer((LiveEdit("p", "2" * 64, Note(method, request)),))


def test_a_fact_of_the_bank_that_changes_counts_against_the_edit(verifier: Verifier) -> None:
    request = FRANCE.model_copy(update={"probes": (LIMA,)})
    evidence = verifier.verify(request, BASE, layer_of(PERU, "ice")).evidence
    assert (evidence.locality, evidence.locality_n) == (0.0, 1)


def test_a_fact_of_the_bank_that_an_earlier_edit_has_changed_does_not(verifier: Verifier) -> None:
    request = FRANCE.model_copy(update={"probes": (LIMA,)})
    evidence = verifier.verify(request, layer_of(PERU, "ice"), layer_of(PERU, "ike")).evidence
    assert (evidence.locality, evidence.locality_n) == (1.0, 1)
