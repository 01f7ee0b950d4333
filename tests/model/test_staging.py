"""Runs lie within cells, cover every entry once, and are counted from a cell's own first entry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.contract import CellBatch
from model.staging import ROW_MULTIPLE, RUN_ENTRIES, stage


def cells(lengths: list[int]) -> CellBatch:
    n_cells, n_entries = len(lengths), sum(lengths)
    return CellBatch(
        indptr=np.cumsum([0, *lengths], dtype=np.int32),
        indices=np.arange(n_entries, dtype=np.int32),
        counts=np.ones(n_entries, dtype=np.float32),
        proteins=np.full((n_cells, 3), 7, dtype=np.float32),
        continuous=np.full((n_cells, 0), 7, dtype=np.float32),
        codes=np.full((n_cells, 2), 7, dtype=np.int32),
    )


@given(st.lists(st.sampled_from([0, 1, 5, 127, 128, 129, 256, 700]), max_size=40))
def test_runs_and_rows(lengths: list[int]) -> None:
    given_cells = cells(lengths)
    staged = stage(given_cells)
    n_rows = len(staged.indptr) - 1
    assert n_rows % ROW_MULTIPLE == 0 and max(len(lengths), 1) <= n_rows < len(lengths) + ROW_MULTIPLE + (not lengths)
    for row, length in enumerate(lengths + [0] * (n_rows - len(lengths))):
        starts = staged.run_starts[staged.cell_starts[row] : staged.cell_starts[row + 1] + 1]
        first = staged.indptr[row]
        expected = [*range(0, max(length, 1), RUN_ENTRIES), length]
        assert (starts - first).tolist() == expected
    assert staged.cell_starts[-1] == len(staged.run_starts) - 1
    assert staged.run_starts[-1] == len(staged.indices)
    for name in ("proteins", "continuous", "codes"):
        rows, original = getattr(staged, name), getattr(given_cells, name)
        assert rows.dtype == original.dtype
        assert np.array_equal(rows[: len(lengths)], original) and not rows[len(lengths) :].any()


@pytest.mark.parametrize("n_cells", [16, 32])
def test_whole_rows_are_not_copied(n_cells: int) -> None:
    batch = cells([3] * n_cells)
    staged = stage(batch)
    assert staged.proteins is batch.proteins and staged.counts is batch.counts
