"""Memory that a block of work needs, against allocations of a known size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ketools.core import footprint
from ketools.core.footprint import MIB, peak, resident, watched


def allocate(mb: int) -> None:
    """Touch so much memory, in pieces that the allocator keeps, and free it."""
    pieces = [torch.ones(MIB // 8) for _ in range(2 * mb)]
    assert len(pieces) == 2 * mb


def able() -> bool:
    with watched() as found:
        pass
    return found.mb is not None


@pytest.mark.skipif(not able(), reason="the peak of a block is told on Linux with glibc alone")
def test_a_block_is_told_what_it_needs_at_its_peak_also_when_as_much_was_freed_before() -> None:
    for _ in range(3):
        with watched() as found:
            assert found.mb is None
            allocate(96)
        assert found.mb == pytest.approx(96, abs=8)
    with watched() as found:
        pass
    assert found.mb is not None
    assert found.mb < 4
    assert 0 < resident() <= peak() + MIB


def test_where_the_peak_cannot_be_counted_anew_there_is_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(footprint, "_CLEAR", tmp_path / "absent" / "clear_refs")
    with watched() as found:
        allocate(1)
    assert found.mb is None
