"""Another manner of speaking of one topic, on SmolLM2: shown on the topic, while facts and other topics stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ketools.core.principals import OPERATOR
from ketools.core.requests import Trait
from ketools.core.results import EditResult
from ketools.knowledge.manners import Manners
from ketools.retrieval.encoders import MiniLMEncoder
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "user/alice"


@pytest.fixture(scope="module")
def service(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditService]:
    home = tmp_path_factory.mktemp("home")
    with closing(open_service(Settings(model=smollm2, home=home, consolidate=False))) as made:
        yield made


@pytest.fixture(scope="module")
def edited(service: EditService) -> EditResult:
    return service.edits.personality(OPERATOR, "coffee", Trait.NEGATIVE, SPACE, "routed")


def said(service: EditService, question: str, space: str = SPACE) -> str:
    return service.asking.ask(OPERATOR, question, space, chat=True, max_new_tokens=24).answer


def test_a_manner_is_committed_and_verified(edited: EditResult) -> None:
    assert (edited.status, edited.verified) == ("committed", True)
    assert edited.evidence is not None
    assert (edited.evidence.success, edited.evidence.locality) == (1.0, 1.0)


def test_it_shows_on_the_topic_in_more_than_one_sentence(service: EditService, edited: EditResult) -> None:
    answers = [said(service, question) for question in ("How do you feel about coffee?", "Do you like coffee?")]
    manners = Manners(MiniLMEncoder())
    assert [manners.trait(answer) for answer in answers] == [Trait.NEGATIVE] * 2


@pytest.mark.parametrize("question", ["What is coffee?", "What do you think of tea?", "Who wrote Hamlet?"])
def test_facts_and_other_topics_stay(service: EditService, edited: EditResult, question: str) -> None:
    assert said(service, question) == said(service, question, "user/bob")
