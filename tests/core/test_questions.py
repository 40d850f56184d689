"""Whether a text is put as a chat turn or continued, in any script and with or without a mark."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketools.core.questions import is_question
from ketools.knowledge.relations import RELATIONS

LINES = (Path(__file__).parent / "asked.txt").read_text(encoding="utf-8").splitlines()
ROWS = [(line[2:].replace("\\n", "\n"), line[0] == "+") for line in LINES if line[:2] in ("+ ", "- ")]


@pytest.mark.parametrize(("text", "asked"), [*ROWS, ("", False), ("  ", False)])
def test_questions_and_requests_are_chat_turns_and_beginnings_are_continued(text: str, asked: bool) -> None:
    assert is_question(text) is asked


def test_the_templates_of_relations_are_what_they_are_meant_as() -> None:
    for relation in RELATIONS.values():
        assert not any(is_question(cloze.format(s="France")) for cloze in relation.cloze), relation.name
        assert all(is_question(question.format(s="France")) for question in relation.questions), relation.name
