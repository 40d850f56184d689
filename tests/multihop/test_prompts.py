"""Prompts are files that users can replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from ketools.core.errors import InvalidRequest, NotFound
from ketools.multihop.pokemqa import entity_line
from ketools.multihop.prompts import NAMES, load_prompts, packaged_sets


def test_every_packaged_set_holds_every_prompt() -> None:
    assert set(packaged_sets()) == {"atlas", "default"}
    for name in packaged_sets():
        assert all("{question}" in load_prompts(name).texts[prompt] for prompt in NAMES)


def test_a_folder_replaces_what_it_holds_and_the_rest_is_packaged(tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("Q: {question} A:")
    prompts = load_prompts(tmp_path)
    assert prompts.fill("answer", "Who?") == "Q: Who? A:"
    assert prompts.texts["mello"] == load_prompts("default").texts["mello"]


def test_the_line_of_an_unknown_entity_is_left_out() -> None:
    prompts = load_prompts("atlas")
    assert prompts.fill("pokemqa", "Who?") == "Question: Who?\n"
    assert prompts.fill("pokemqa", "Who?", "Entity of Question: X, a human.").endswith("X, a human.\n")


def test_a_prompt_without_its_field_and_an_unknown_set_are_told(tmp_path: Path) -> None:
    (tmp_path / "mello.txt").write_text("Hello")
    with pytest.raises(InvalidRequest, match="must hold"):
        load_prompts(tmp_path)
    with pytest.raises(NotFound, match="atlas"):
        load_prompts("atlass")


def test_a_question_without_a_known_entity_says_so_when_entities_are_looked_up() -> None:
    assert entity_line("Who?", None) == ""
    assert entity_line("Who?", lambda _: None) == "Entity of Question: unknown."
    assert entity_line("Who is X?", lambda _: ("X", "person")) == "Entity of Question: X, a human."
