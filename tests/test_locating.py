"""Locating a fact: one result, and its heat map."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ketools.editor import Editor
from ketools.errors import StorageError
from ketools.locating import Location, draw, locate
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
