from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given
from hypothesis import strategies as st

from ketools.models.editable import EditableModel
from ketools.models.rows import ROW_TOKENS, in_rows, laid_out

Editable = Callable[[str], EditableModel]
sequences = st.lists(st.lists(st.integers(3, 5), min_size=1, max_size=30), min_size=1, max_size=40)


@given(sequences)
def test_every_token_sees_what_stands_before_it_in_its_own_sequence_and_nothing_else(
    tiny_editable: Editable, sequences: list[list[int]]
) -> None:
    rows = in_rows(sequences)
    ids, mask, positions = laid_out(tiny_editable("llama"), rows, torch.float32)
    found = {}
    for k, row in enumerate(rows):
        for i, columns in row.columns.items():
            found[i] = ids[k, columns].tolist()
            assert positions[k, columns].tolist() == list(range(len(columns)))
            for n, column in enumerate(columns):
                seen = mask[k, : column + 1] if mask.dim() == 2 else mask[k, 0, column] == 0
                assert seen.nonzero().flatten().tolist() == sorted(columns[: n + 1])
    assert [found[i] for i in range(len(sequences))] == sequences


@given(sequences)
def test_a_row_holds_a_common_beginning_once_and_does_not_get_long(sequences: list[list[int]]) -> None:
    for row in in_rows(sequences):
        held = {tuple(sequences[i][: n + 1]) for i in row.columns for n in range(len(sequences[i]))}
        assert len(row.ids) == len(held) <= ROW_TOKENS


def test_a_long_beginning_is_shared_by_rows_of_at_most_twice_its_length() -> None:
    long = [[*range(400), *range(n, n + 20)] for n in range(50)]
    rows = in_rows(long)
    assert sum(len(row.ids) for row in rows) < len(long) * 420 / 9
    assert max(len(row.ids) for row in rows) <= 2 * 420


def test_long_sequences_that_begin_otherwise_stay_apart() -> None:
    assert len(in_rows([[n, *range(150)] for n in range(5)])) == 5


def test_without_sharing_each_sequence_has_a_row_and_the_mask_that_every_model_knows(tiny_editable: Editable) -> None:
    rows = in_rows([[3, 4, 5], [3, 4]], share=False)
    ids, mask, positions = laid_out(tiny_editable("llama"), rows, torch.float32)
    assert ids.tolist() == [[3, 4, 2], [3, 4, 5]]
    assert mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert positions.tolist() == [[0, 1, 0], [0, 1, 2]]
