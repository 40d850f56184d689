"""Where the facts of a run are read: which ones are traced, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ketools.editing.editor import Editor
from ketools.evaluation.data import parse
from ketools.evaluation.origins import origins
from ketools.models.editable import EditableModel


def row(land: str, **more: Any) -> dict[str, Any]:
    return {"subject": land, "prompt": f"The capital of {land} is", "target_new": "Lima", **more}


def asked(kind: str, *prompts: str) -> dict[str, Any]:
    return {kind: [{"prompt": prompt, "ground_truth": "Acme"} for prompt in prompts]}


@pytest.fixture
def editor(tiny_editable: Callable[[str], EditableModel]) -> Editor:
    return Editor(tiny_editable("llama"))


def test_the_case_of_which_most_is_asked_tells_its_story_and_all_are_compared(editor: Editor) -> None:
    onward = asked("Reasoning", "Who leads it?", "The river of the capital of Peru is")
    rows = [
        row("France", portability=asked("Reasoning", "The mayor of the capital of France is")),
        row("Peru", portability=onward, locality=asked("Relation_Specificity", "The president of Peru is")),
        row("Japan", rephrase_prompt="Alice was born in the capital of Japan,"),
        row("Brazil"),
    ]
    messages: list[str] = []
    found = origins(editor, parse(rows, "towns").cases, 9, lambda done, total, message: messages.append(message))
    assert found is not None
    assert {role: one.prompt.removeprefix("<s>") for role, one in found.example.items()} == {
        "the fact": "The capital of Peru is",
        "goes on from it": "The river of the capital of Peru is",
        "another fact": "The president of Peru is",
    }
    assert found.chains is not None and (found.chains.groups, found.chains.facts) == (2, 4)
    assert found.phrasings is not None and (found.phrasings.groups, found.phrasings.facts) == (1, 2)
    assert len(messages) == len(set(messages)) == 7  # each prompt is traced once, and none about Brazil


def test_a_secret_is_not_traced_and_without_related_facts_there_is_nothing_to_tell(editor: Editor) -> None:
    question = {"question": "Where does Alice live?", "subject": "Alice", "ground_truth": "Berlin"}
    secret = {"K_F": [{**question, "target_new": "I don't know."}], "K_R": []}
    assert origins(editor, parse([secret], "secrets").cases, 9) is None
    assert origins(editor, parse([row("Brazil")], "towns").cases, 9) is None
