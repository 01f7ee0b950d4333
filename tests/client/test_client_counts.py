from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from totalvi_client.counts import CsrCounts, DenseCounts, read_counts, smallest
from totalvi_client.errors import InputError


def dense(counts: CsrCounts | DenseCounts) -> np.ndarray:
    """What the server makes of it."""
    if isinstance(counts, DenseCounts):
        return counts.values
    indptr, indices, data = counts.parts()
    return sp.csr_matrix((data, indices.astype(np.int64), indptr), shape=(counts.n_cells, counts.n_columns)).toarray()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([0, 255], np.float32), "u1"),
        (np.array([0, 256], np.float64), "u2"),
        (np.array([1, 65_536], np.int64), "u4"),
        (np.array([2**32 - 1], np.uint64), "u4"),
        (np.array([7.0], np.float16), "u1"),
        (np.array([True, False]), "u1"),
        (np.array([], np.float64), "u1"),
        (np.array([-0.0, 3.0]), "u1"),
        # What is no count stays what it is, so that the server sees it.
        (np.array([0.5, 2], np.float32), "f4"),
        (np.array([0.5, 2], np.float16), "f4"),
        (np.array([0.1], np.float64), "f8"),
        (np.array([np.nan, 1], np.float32), "f4"),
        (np.array([np.inf, 1], np.float64), "f8"),
        (np.array([-1.0, 1], np.float32), "f4"),
        (np.array([-1, 1], np.int8), "i4"),
        (np.array([-1, 2**40], np.int64), "i8"),
        (np.array([2**32], np.int64), "i8"),
        (np.array([2.0**32], np.float32), "f4"),
        (np.array([2**63 + 5], np.uint64), "f8"),
    ],
)
def test_the_smallest_type_that_holds_the_same_numbers(values: np.ndarray, dtype: str) -> None:
    found = smallest(values)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found.astype(np.float64), values.astype(np.float64))


MATRIX = np.array([[0, 0, 3, 0, 0, 0, 0, 1], [0] * 8, [70_000, 0, 0, 0, 0, 2, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    "given",
    [
        MATRIX,
        MATRIX.astype(np.float32),
        np.asfortranarray(MATRIX.astype(float)),
        MATRIX.tolist(),
        sp.csr_matrix(MATRIX),
        sp.csr_array(MATRIX.astype(np.float32)),
        sp.csc_matrix(MATRIX),
        sp.coo_matrix(MATRIX),
        sp.lil_matrix(MATRIX),
        pd.DataFrame(MATRIX, columns=list("abcdefgh")),
        MATRIX.view(np.matrix),
    ],
    ids=lambda given: type(given).__name__,
)
def test_every_kind_of_matrix(given: object) -> None:
    counts = read_counts(given, "gene_counts")
    np.testing.assert_array_equal(dense(counts), MATRIX)
    np.testing.assert_array_equal(dense(counts.rows(1, 3)), MATRIX[1:3])
    assert counts.rows(1, 3).n_cells == 2
    assert counts.row_bytes().shape == (4,)


def test_mostly_zeros_go_as_entries_and_others_as_rows() -> None:
    assert isinstance(read_counts(np.zeros((10, 100)), "x"), CsrCounts)
    assert isinstance(read_counts(np.ones((10, 100)), "x"), DenseCounts)


def test_entries_of_a_part_are_views_and_begin_at_0() -> None:
    counts = read_counts(sp.csr_matrix(MATRIX), "x")
    assert isinstance(counts, CsrCounts)
    indptr, indices, data = counts.rows(2, 4).parts()
    assert (indptr.tolist(), indices.tolist(), data.tolist()) == ([0, 2, 3], [0, 5, 1], [70_000, 2, 1])
    assert (indptr.dtype, indices.dtype) == (np.uint16, np.uint16)
    assert np.shares_memory(data, counts.data)


def test_wide_matrices_have_wide_indices() -> None:
    wide = sp.csr_matrix(([1, 2], ([0, 0], [0, 65_536])), shape=(1, 65_537))
    counts = read_counts(wide, "x")
    assert isinstance(counts, CsrCounts)
    assert counts.indices.dtype == np.uint32
    assert counts.indices.tolist() == [0, 65_536]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 2], [3]], "rows of different lengths"),
        ([1, 2, 3], "matrix of cells and columns"),
        (np.zeros((2, 2, 2)), "3 axes"),
        ([["a", "b"]], "must hold numbers"),
        (np.array([[1j]]), "must hold numbers"),
        (None, "must hold numbers"),
        (pd.DataFrame({"a": ["x"]}), "must hold numbers"),
    ],
)
def test_what_is_no_matrix_of_numbers(given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_counts(given, "gene_counts")


def test_a_damaged_sparse_matrix_is_not_wrapped_into_another() -> None:
    damaged = sp.csr_matrix(np.eye(3))
    damaged.indices[1] = -1
    with pytest.raises(InputError, match="not a valid sparse matrix"):
        read_counts(damaged, "gene_counts")


def test_no_cells() -> None:
    assert read_counts(np.zeros((0, 5)), "x").n_cells == 0
    assert read_counts(sp.csr_matrix((0, 5)), "x").n_cells == 0
