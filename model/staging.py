"""Cells as the compiled module takes them: filled up to whole rows, their entries cut into runs. Numpy alone."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from model.contract import CellBatch, Float32Array, Int32Array

ROW_MULTIPLE = 16
"""A float32 product takes another kernel for fewer rows than this; see docs/decisions/0002-the-same-bits.md."""

CUDA_ROW_MULTIPLE = 256
"""A GPU's products are always of so many rows: their library takes another kernel for almost every other number."""

RUN_ENTRIES = 128
"""So many counts of a cell are summed one after another, then the sums are: float32 loses with every term."""


Number = TypeVar("Number", np.float32, np.int32)


class StagedCells(NamedTuple):
    """The arguments of the compiled module's `forward`, which tells what they are."""

    indptr: Int32Array
    indices: Int32Array
    counts: Float32Array
    entry_rows: Int32Array
    runs: Int32Array
    run_starts: Int32Array
    cell_starts: Int32Array
    proteins: Float32Array
    continuous: Float32Array
    codes: Int32Array


def stage(cells: CellBatch, row_multiple: int = ROW_MULTIPLE, *, entry_rows: bool = True) -> StagedCells:
    """Arrange cells so that the bits of each depend on itself alone.

    Args:
        cells: any number of them.
        row_multiple: what to fill their number up to a multiple of.
        entry_rows: whether to tell the row of each entry: not where sending it costs more than finding it out.

    Returns:
        Their rows and empty ones behind them (at least one multiple); runs are counted from each cell's own first
        entry, and a cell without entries has an empty one.
    """
    n_rows = max(-(-cells.n_cells // row_multiple), 1) * row_multiple
    indptr = cells.indptr
    if n_rows > cells.n_cells:
        indptr = np.full(n_rows + 1, indptr[-1], dtype=np.int32)
        indptr[: cells.n_cells + 1] = cells.indptr
    lengths = indptr[1:] - indptr[:-1]
    n_runs = np.maximum(-(-lengths // RUN_ENTRIES), 1)
    cell_starts = np.zeros(n_rows + 1, dtype=np.int32)
    np.cumsum(n_runs, out=cell_starts[1:])
    run_starts = np.full(cell_starts[-1] + 1, indptr[-1], dtype=np.int32)
    # How far a run begins behind its cell's first one, for all runs of all cells.
    runs = np.arange(cell_starts[-1], dtype=np.int32)
    within = runs - np.repeat(cell_starts[:-1], n_runs)
    run_starts[:-1] = np.repeat(indptr[:-1], n_runs) + RUN_ENTRIES * within
    return StagedCells(
        indptr=indptr,
        indices=cells.indices,
        counts=cells.counts,
        entry_rows=np.repeat(np.arange(n_rows, dtype=np.int32), lengths) if entry_rows else np.zeros(0, np.int32),
        runs=runs,
        run_starts=run_starts,
        cell_starts=cell_starts,
        proteins=_filled_up(cells.proteins, n_rows),
        continuous=_filled_up(cells.continuous, n_rows),
        codes=_filled_up(cells.codes, n_rows),
    )


def _filled_up(rows: npt.NDArray[Number], n_rows: int) -> npt.NDArray[Number]:
    if len(rows) == n_rows:
        return rows
    filled = np.zeros((n_rows, rows.shape[1]), dtype=rows.dtype)
    filled[: len(rows)] = rows
    return filled
