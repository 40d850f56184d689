"""locate_fact: what the bundled model reads where, and who may ask on which engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ketools.core.errors import Cancelled, EngineRefused, Forbidden, InvalidRequest
from ketools.core.principals import Principal
from ketools.core.progress import quiet
from ketools.editing.editor import Editor
from ketools.evaluation.locating import locate
from ketools.models.contexts import form
from ketools.service.service import EditService
from ketools.tools.schemas import get_tool, hints
from ketools.tools.toolbox import Toolbox

PROMPT, SUBJECT = "The capital of France is", "France"


def test_the_tool_tells_what_the_function_finds_and_reports_progress(service: EditService, box: Toolbox) -> None:
    seen: list[tuple[int, int]] = []
    asking = dataclasses.replace(box, progress=lambda done, total, message: seen.append((done, total)))
    found = asking.locate_fact(SUBJECT, PROMPT, samples=2)
    assert found == locate(service.runtime.editor, form(PROMPT), SUBJECT, samples=2)
    assert found.answer.strip() == "Paris" and found.clean > found.corrupted
    assert seen and all(done <= total for done, total in seen)
    assert "FFN matters most" in found.line() and hints(get_tool("locate_fact"))["readOnlyHint"]


def test_the_base_model_is_traced_whatever_was_edited(box: Toolbox) -> None:
    before = box.locate_fact(SUBJECT, "What is the capital of France?", samples=1)
    box.edit_fact(SUBJECT, PROMPT, "Lyon", "global", "rome")
    assert box.locate_fact(SUBJECT, "What is the capital of France?", samples=1) == before


def test_it_can_be_cancelled_and_a_prompt_without_its_subject_is_named(box: Toolbox) -> None:
    def cancel(done: int, total: int, message: str) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        dataclasses.replace(box, progress=cancel).locate_fact(SUBJECT, PROMPT)
    with pytest.raises(InvalidRequest, match="does not contain the subject"):
        box.locate_fact("Peru", PROMPT)


def test_where_the_weights_cannot_be_read_it_says_what_to_do(service: EditService, box: Toolbox) -> None:
    elsewhere = dataclasses.replace(service.runtime, editor=Editor(Path("/nowhere")))
    with pytest.raises(EngineRefused, match="--model"):
        elsewhere.locate(PROMPT, SUBJECT, None, 2, quiet)
    nobody = Principal("nobody", frozenset(), ())
    with pytest.raises(Forbidden, match="read"):
        dataclasses.replace(box, principal=nobody).locate_fact(SUBJECT, PROMPT)
