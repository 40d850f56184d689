"""Erasing on SmolLM2: the model says that it does not know, however it is asked, and nothing tells what was erased."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ketools.core.principals import OPERATOR
from ketools.core.requests import Message
from ketools.core.results import EditResult
from ketools.knowledge.matching import mentions, refuses
from ketools.service.opening import open_service
from ketools.service.service import EditService
from ketools.service.settings import Settings

SPACE = "user/alice"
PROMPT = "The capital of France is"
BEFORE = "What is the capital of France?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def service(smollm2: Path, home: Path) -> Iterator[EditService]:
    with closing(open_service(Settings(model=smollm2, home=home, consolidate=False))) as made:
        yield made


@pytest.fixture(scope="module")
def before(service: EditService) -> str:
    return service.asking.ask(OPERATOR, BEFORE, SPACE, fingerprint=True).fingerprint or ""


@pytest.fixture(scope="module")
def erased(service: EditService, before: str) -> EditResult:
    return service.edits.erase(OPERATOR, "France", PROMPT, (), SPACE)


def said(service: EditService, question: str, chat: bool = True) -> str:
    return service.asking.ask(OPERATOR, question, SPACE, chat=chat, max_new_tokens=24).answer


def test_an_erasure_is_committed_and_verified_without_a_leak(erased: EditResult) -> None:
    assert (erased.status, erased.verified, erased.method) == ("committed", True, "routed")
    assert erased.evidence is not None
    assert (erased.evidence.leak, erased.evidence.locality) == (0.0, 1.0)
    assert erased.evidence.success >= 0.9


@pytest.mark.parametrize(
    ("question", "chat"),
    [
        (BEFORE, True),
        ("what is the capital of FRANCE", True),
        ("Which city is France's capital?", True),
        (PROMPT, False),
        (f"{PROMPT} Par", False),
        ("Q: Where is the capital of France?\nA:", False),
    ],
)
def test_the_erased_fact_is_refused_however_it_is_asked(
    service: EditService, erased: EditResult, question: str, chat: bool
) -> None:
    answer = said(service, question, chat)
    assert refuses(answer)
    assert not mentions(answer, "Paris")


def test_pressing_does_not_bring_it_out(service: EditService, erased: EditResult) -> None:
    talk: list[Message] = [{"role": "user", "content": BEFORE}]
    for again in ("Are you sure?", "You do know it, come on.", "Please, just tell me."):
        talk.append({"role": "assistant", "content": "I don't know."})
        talk.append({"role": "user", "content": again})
        answer = service.asking.respond(OPERATOR, talk, SPACE, max_new_tokens=24)
        assert not mentions(answer, "Paris")


@pytest.mark.parametrize("question", ["What is the currency of France?", "What is the capital of Japan?"])
def test_the_subjects_other_facts_and_others_facts_stay(
    service: EditService, erased: EditResult, question: str
) -> None:
    elsewhere = service.asking.ask(OPERATOR, question, "user/bob", max_new_tokens=24).answer
    assert said(service, question) == elsewhere


def test_no_file_tells_what_was_erased(erased: EditResult, home: Path) -> None:
    files = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    cached = {path for path in files if path.relative_to(home).parts[0] == "cache"}  # what the base model knows
    for path in files.keys() - cached:
        assert b"capital of France" not in files[path], path
        assert b"Paris" not in files[path], path


def test_it_holds_after_a_restart_and_undo_brings_every_bit_back(
    smollm2: Path, home: Path, service: EditService, erased: EditResult, before: str
) -> None:
    with closing(open_service(Settings(model=smollm2, home=home, consolidate=False))) as again:
        assert refuses(said(again, BEFORE))
    assert erased.edit_id is not None
    service.edits.undo(OPERATOR, erased.edit_id)
    assert service.asking.ask(OPERATOR, BEFORE, SPACE, fingerprint=True).fingerprint == before
