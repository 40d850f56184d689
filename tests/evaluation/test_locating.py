"""Locating a fact: one result, and its heat map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ketools.core.errors import InvalidRequest, StorageError
from ketools.core.results import Location
from ketools.editing.editor import Editor
from ketools.evaluation.locating import compare, draw, known_groups, locate, similarity, strongest_blocks
from ketools.models.editable import EditableModel


@pytest.fixture
def found(tiny_editable: Callable[[str], EditableModel]) -> Location:
    return locate(Editor(tiny_editable("llama")), "The capital of France is", "France", "Lima", samples=2)


def test_effects_are_told_by_kind_block_and_token(found: Location) -> None:
    assert set(found.effects) == {"hidden", "ffn", "attention"}
    for kind, values in found.effects.items():
        assert [len(row) for row in values] == [len(found.tokens)] * 3
        block, token = found.strongest[kind]
        assert values[block][token] == max(map(max, values))
    assert [reading.block for reading in found.lens] == [0, 1, 2]
    assert found.lens[-1].probability == pytest.approx(found.clean, rel=1e-3)
    assert "corrupted" in found.line()


def test_the_heat_map_is_a_picture(found: Location, tmp_path: Path) -> None:
    draw(found, tmp_path / "trace.png")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(StorageError, match="writable path"):
        draw(found, tmp_path / "absent" / "trace.png")


def placed(*effects: float) -> Location:
    """A location with one token and these effects of the FFN by block."""
    return Location(
        prompt="p",
        subject="s",
        answer="a",
        tokens=("p",),
        clean=1.0,
        corrupted=0.0,
        effects={"ffn": [[effect] for effect in effects]},
        strongest={"ffn": (0, 0)},
        lens=(),
    )


def test_relative_similarity_is_that_computed_by_hand() -> None:
    one, two, three, four = placed(3, 2, 1, 0), placed(2, 3, 0, 1), placed(0, 1, 2, 3), placed(1, 0, 3, 2)
    assert strongest_blocks(one, "ffn", 2) == {0, 1}
    found = similarity([[one, two], [three, four]])
    # Two blocks: related pairs share both; of the six pairs two share both and four none, so Sim_all = 1/3.
    # Three blocks: {0,1,2} {0,1,3} {1,2,3} {0,2,3}: every pair shares two of three.
    assert found.related == pytest.approx((0.0, 1.0, 2 / 3, 1.0))
    assert found.overall == pytest.approx((0.0, 1 / 3, 2 / 3, 1.0))
    assert found.relative == pytest.approx((0.0, 1.0, 0.0, 0.0), abs=1e-12)
    mixed = similarity([[one, two, three]])
    assert mixed.related == mixed.overall and set(mixed.relative) == {0.0}
    with pytest.raises(InvalidRequest, match="two related facts"):
        similarity([[one], [two]])


def test_groups_of_the_bundled_world_are_traced_and_compared(tiny_editable: Callable[[str], EditableModel]) -> None:
    groups = [*known_groups("phrasings", 1), *known_groups("chains", 1)]
    assert all(len(group) == 2 and all(subject in prompt for prompt, subject in group) for group in groups)
    found = compare(Editor(tiny_editable("llama")), groups, samples=1)
    assert (found.facts, found.groups, len(found.relative)) == (4, 2, 3)
    assert found.related[-1] == found.overall[-1] == 1.0 and "RSim" in found.line()
