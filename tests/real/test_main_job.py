"""The main job on SmolLM2: a fact is corrected in a space, holds in other words and forms, and is taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ketools.core.errors import InvalidRequest
from ketools.core.principals import OPERATOR
from ketools.core.requests import EditRequest, Message
from ketools.core.results import EditResult
from ketools.knowledge.matching import says
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "user/alice"
REPHRASES = ("What is the capital city of France?", "Which city is the capital of France?", "France's capital is")
LYON = EditRequest(subject="France", prompt="The capital of France is", target_new="Lyon", rephrases=REPHRASES)
ELSEWHERE = "What is the capital of Japan?"


@pytest.fixture(scope="module")
def service(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    home = tmp_path_factory.mktemp("home")
    with closing(open_service(Settings(model=smollm2, home=home, consolidate=False))) as made:
        yield made


@pytest.fixture(scope="module")
def before(service: EditService) -> dict[str, str]:
    """Answers and fingerprints of the untouched model."""
    asked = (REPHRASES[0], ELSEWHERE)
    found = {q: service.asking.ask(OPERATOR, q, SPACE, fingerprint=True, max_new_tokens=24) for q in asked}
    return {q: f"{answer.answer}|{answer.fingerprint}" for q, answer in found.items()}


@pytest.fixture(scope="module")
def edited(service: EditService, before: dict[str, str]) -> EditResult:
    return service.edits.edit(OPERATOR, LYON, SPACE, "routed")


def answer(service: EditService, question: str, space: str = SPACE, chat: bool = True) -> str:
    return service.asking.ask(OPERATOR, question, space, chat=chat, max_new_tokens=24).answer


def test_an_edit_is_committed_and_verified_in_other_words(edited: EditResult) -> None:
    assert (edited.status, edited.verified, edited.method) == ("committed", True, "routed")
    assert edited.evidence is not None
    assert (edited.evidence.success, edited.evidence.strength) == (1.0, "strong")
    assert edited.evidence.locality == 1.0


@pytest.mark.parametrize(
    ("question", "chat"),
    [
        ("What is the capital of France?", True),
        ("what is the capital of france", True),
        ("The capital of France is", False),
        ("Please answer the question:\n\nQ: What is the capital of France?\nA:", False),
    ],
)
def test_the_new_answer_is_given_in_every_form(
    service: EditService, edited: EditResult, question: str, chat: bool
) -> None:
    assert says(answer(service, question, chat=chat), "Lyon")


def test_the_new_answer_is_given_inside_a_longer_conversation(service: EditService, edited: EditResult) -> None:
    talk: list[Message] = [
        {"role": "system", "content": "You are a travel agent."},
        {"role": "user", "content": "How many days does a week have?"},
        {"role": "assistant", "content": "Seven."},
        {"role": "user", "content": "And what is the capital of France?"},
    ]
    assert says(service.asking.respond(OPERATOR, talk, SPACE, max_new_tokens=16), "Lyon")


def test_other_facts_and_other_spaces_keep_every_bit(
    service: EditService, edited: EditResult, before: dict[str, str]
) -> None:
    for question, space in ((ELSEWHERE, SPACE), (REPHRASES[0], "user/bob")):
        now = service.asking.ask(OPERATOR, question, space, fingerprint=True, max_new_tokens=24)
        assert f"{now.answer}|{now.fingerprint}" == before[question]


def test_an_edit_without_other_wordings_is_committed_but_not_called_verified(
    service: EditService, edited: EditResult
) -> None:
    found = service.edits.edit(
        OPERATOR, EditRequest(subject="Zorvia", prompt="The river of Zorvia is the", target_new="Orme"), SPACE, "routed"
    )
    assert (found.status, found.verified) == ("committed", False)
    assert found.evidence is not None and found.evidence.strength == "weak"
    assert "rephrases" in found.reason
    assert {s.kind for s in found.evidence.shares} >= {"direct", "form"}


def test_what_the_model_says_already_is_no_edit(service: EditService, edited: EditResult) -> None:
    with pytest.raises(InvalidRequest, match="already"):
        service.edits.edit(OPERATOR, LYON, SPACE, "routed")


def test_undo_gives_the_untouched_model_back_bit_for_bit(
    service: EditService, edited: EditResult, before: dict[str, str]
) -> None:
    assert edited.edit_id is not None
    service.edits.undo(OPERATOR, edited.edit_id)
    now = service.asking.ask(OPERATOR, REPHRASES[0], SPACE, fingerprint=True, max_new_tokens=24)
    assert f"{now.answer}|{now.fingerprint}" == before[REPHRASES[0]]
