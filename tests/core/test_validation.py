"""Each entry of a matrix is looked at, each label matched by type, and each limit kept."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import CategoricalField
from service.core import validation
from service.core.alignment import ColumnIndex, ColumnMap
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Counts, Coverage, CsrCounts, DenseCounts, Labels
from service.core.validation import category_codes, continuous_column, gene_rows, protein_rows

GENES = ("a", "b", "c", "d")


def dense(rows: Any, dtype: Any = np.float64) -> DenseCounts:
    return DenseCounts(np.array(rows, dtype=dtype))


def csr(indptr: Any, indices: Any, data: Any, n_columns: int | None = None, dtype: Any = np.float64) -> CsrCounts:
    return CsrCounts(np.array(indptr), np.array(indices, dtype=np.int64), np.array(data, dtype=dtype), n_columns)


def rows_of(counts: Counts, names: tuple[str, ...] | None = None, **options: Any) -> tuple[list[Any], ...]:
    columns = ColumnIndex("gene", GENES).align(names)
    options = {"allow_non_integer": False} | options
    indptr, indices, values, _ = gene_rows(counts, columns, n_genes=len(GENES), **options)
    assert (indptr.dtype, indices.dtype, values.dtype) == (np.int32, np.int32, np.float32)
    return indptr.tolist(), indices.tolist(), values.tolist()


def refused(counts: Counts, kind: str = "gene", **options: Any) -> ServiceError:
    columns = ColumnIndex(kind, GENES).align(None)
    options = {"allow_non_integer": False} | options
    with pytest.raises(ServiceError) as caught:
        if kind == "gene":
            gene_rows(counts, columns, n_genes=len(GENES), **options)
        else:
            protein_rows(counts, columns, n_cells=counts.n_cells, n_proteins=len(GENES), **options)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value


EXPECTED = ([0, 2, 2, 3], [0, 3, 1], [1.0, 2.0, 7.0])
MATRIX = [[1, 0, 0, 2], [0, 0, 0, 0], [0, 7, 0, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_dense_rows_become_sorted_rows_without_zeros(dtype: Any) -> None:
    assert rows_of(dense(MATRIX, dtype)) == EXPECTED


def test_booleans_count_one() -> None:
    assert rows_of(dense([[True, False, True, False]], np.bool_)) == ([0, 2], [0, 2], [1.0, 1.0])


def test_reordered_and_unknown_columns_give_the_same_rows() -> None:
    names = ("d", "x", "c", "b", "a")
    matrix = np.array(MATRIX)
    shuffled = np.stack([matrix[:, 3], [9, 9, 9], matrix[:, 2], matrix[:, 1], matrix[:, 0]], axis=1)
    assert rows_of(dense(shuffled), names) == EXPECTED
    sparse = csr([0, 3, 4, 6], [1, 4, 0, 1, 1, 3], [9, 1, 2, 9, 9, 7])
    assert rows_of(sparse, names) == EXPECTED


@pytest.mark.parametrize(
    "counts",
    [
        csr([0, 2, 2, 3], [0, 3, 1], [1, 2, 7]),
        csr([0, 2, 2, 3], [3, 0, 1], [2, 1, 7]),
        csr([0, 4, 4, 5], [3, 1, 0, 2, 1], [2, 0, 1, 0, 7]),
        csr([0, 3, 3, 6], [3, 0, 3, 1, 1, 1], [1, 1, 1, 3, 3, 1]),
        csr([0, 3, 3, 6], [3, 0, 3, 1, 1, 1], [1, 1, 1, 3, 3, 1], dtype=np.uint8),
        csr([0, 2, 2, 3], [0, 3, 1], [1, 2, 7], n_columns=4),
    ],
    ids=["sorted", "unsorted", "explicit zeros", "duplicates", "duplicates in u8", "stated width"],
)
def test_csr_may_be_unsorted_with_duplicates_and_zeros(counts: CsrCounts) -> None:
    """DOMAIN 9.14."""
    assert rows_of(counts) == EXPECTED


def test_duplicates_of_a_small_type_do_not_overflow() -> None:
    counts = csr([0, 3], [2, 2, 2], [200, 200, 200], dtype=np.uint8)
    assert rows_of(counts) == ([0, 1], [2], [600.0])


@given(st.data())
def test_csr_and_dense_give_the_same_rows(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 6))
    matrix = np.array(data.draw(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=n, max_size=n)))
    matrix = matrix.reshape(n, 4)
    rows, columns = np.nonzero(matrix)
    order = np.lexsort((data.draw(st.permutations(range(rows.size))), rows))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))])[: n + 1]
    sparse = csr(indptr, columns[order], matrix[rows[order], columns[order]])
    names = tuple(data.draw(st.permutations(GENES)))
    assert rows_of(dense(matrix), names) == rows_of(sparse, names)


@pytest.mark.parametrize("kind", ["gene", "protein"])
@pytest.mark.parametrize(
    ("rows", "fragment"),
    [
        ([[1, 2, 3, 4], [0, 0, np.nan, 1]], "not finite"),
        ([[1, 2, 3, 4], [np.inf, 0, 0, 0]], "not finite"),
        ([[1, 2, 3, 4], [0, 0, -1, -2]], "negative"),
        ([[1, 2, 3], [1, 2, 3]], "has 3 columns where 4 are expected"),
        ([[1, 2, 3, 1e300]], "over 4294967295"),
        ([[1, 2, 3, 2**32]], "over 4294967295"),
        ([1, 2, 3, 4], "not a matrix"),
    ],
)
def test_what_was_never_counted_is_refused(kind: str, rows: Any, fragment: str) -> None:
    error = refused(dense(rows), kind)
    assert fragment in error.detail
    assert error.field == f"{kind}_counts"
    if "cell" in error.detail and "first" in error.detail:
        assert error.index == 1 and "first in cell 1" in error.detail
    assert not any(text in error.detail for text in ("-1", "-2", "nan", "1e300"))


def test_offenders_are_counted() -> None:
    assert refused(dense([[1, 2, 3, 4], [0, 0, -1, -2]])).counts == {"offenders": 2}


def test_a_bad_value_in_a_column_that_would_be_dropped_is_refused_too() -> None:
    columns = ColumnIndex("gene", GENES).align(("a", "x"))
    with pytest.raises(ServiceError, match="negative"):
        gene_rows(dense([[1, -1]]), columns, n_genes=4, allow_non_integer=False)


@pytest.mark.parametrize(
    ("counts", "field", "fragment"),
    [
        (csr(np.zeros(0, np.int64), [], []), "indptr", "begin with 0"),
        (csr([1, 2], [0, 1], [1, 1]), "indptr", "begin with 0"),
        (csr([0, 2, 1], [0, 1], [1, 1]), "indptr", "decreases"),
        (csr([0, (1 << 63) - 1, -2, 1], [0], [1]), "indptr", "decreases"),
        (csr([0, -(1 << 63), 1], [0], [1]), "indptr", "decreases"),
        (csr([0, (1 << 63) - 1], [0], [1]), "indptr", "1 indices and 1 data"),
        (CsrCounts(np.array([0, 5, 2, 7], np.uint32), np.arange(4), np.ones(4)), "indptr", "decreases"),
        (csr([0, 1], [0, 1], [1, 1]), "indptr", "ends at 1, but there are 2 indices and 2 data"),
        (csr([0, 2], [0, 1], [1]), "indptr", "2 indices and 1 data"),
        (csr([0, 2], [0, 4], [1, 1]), "indices", "outside 0 to 3"),
        (csr([0, 2], [0, -1], [1, 1]), "indices", "outside 0 to 3"),
        (csr([0, 1], [0], [1], n_columns=5), "", "5 columns where 4 are expected"),
        (csr([0.0, 1.0], [0], [1]), "indptr", "not integers"),
        (csr([[0, 1]], [0], [1]), "indptr", "one-dimensional"),
    ],
)
@pytest.mark.parametrize("kind", ["gene", "protein"])
def test_csr_that_contradicts_itself_is_refused(kind: str, counts: CsrCounts, field: str, fragment: str) -> None:
    error = refused(counts, kind)
    assert fragment in error.detail
    assert error.field == (f"{kind}_counts.{field}" if field else f"{kind}_counts")


def test_text_is_no_count() -> None:
    assert "not numbers" in refused(DenseCounts(np.array([["a", "b", "c", "d"]]))).detail


def test_log_normalised_input_is_refused_unless_allowed() -> None:
    counts = dense(np.log1p([[3.0, 0, 1, 2], [1, 0, 5, 0]]))
    error = refused(counts)
    assert "looks log-normalised" in error.detail and error.counts == {"offenders": 5}
    columns = ColumnIndex("gene", GENES).align(None)
    *_, notices = gene_rows(counts, columns, n_genes=4, allow_non_integer=True)
    assert [(notice.code, notice.count) for notice in notices] == [("non_integer_counts", 5)]


def test_a_few_fractions_are_a_warning() -> None:
    columns = ColumnIndex("gene", GENES).align(None)
    *_, notices = gene_rows(dense([[3.5, 0, 1, 2]]), columns, n_genes=4, allow_non_integer=False)
    assert notices[0].code == "non_integer_counts" and notices[0].count == 1
    *_, notices = gene_rows(dense([[300.5, 0, 20.5, 2.5]]), columns, n_genes=4, allow_non_integer=False)
    assert notices[0].count == 3, "far over any logarithm: not log-normalised"


@pytest.mark.parametrize("value", [65_536, 1 << 24, 1 << 31])
def test_large_counts_are_taken(value: int) -> None:
    assert rows_of(dense([[value, 0, 0, 0]], np.int64))[2] == [float(value)]


def test_proteins_stand_where_the_model_wants_them() -> None:
    columns = ColumnIndex("protein", GENES).align(("d", "x", "a"))
    for counts in (
        dense([[5, 9, 7], [0, 0, 1]]),
        csr([0, 3, 4], [0, 1, 2, 2], [5, 9, 7, 1]),
        csr([0, 4, 5], [2, 0, 1, 2, 2], [3, 5, 9, 4, 1]),
    ):
        values, notices = protein_rows(counts, columns, n_cells=2, n_proteins=4, allow_non_integer=False)
        assert values.tolist() == [[7, 0, 0, 5], [1, 0, 0, 0]] and values.dtype == np.float32 and notices == ()


def test_without_proteins_all_are_zero() -> None:
    columns = ColumnIndex("protein", GENES).align(None)
    values, _ = protein_rows(None, columns, n_cells=2, n_proteins=4, allow_non_integer=False)
    assert values.shape == (2, 4) and not values.any()


def test_no_cells_have_no_width() -> None:
    assert rows_of(DenseCounts(np.zeros((0, 0)))) == ([0], [], [])
    columns = ColumnIndex("protein", GENES).align(None)
    empty = DenseCounts(np.zeros((0, 0)))
    values, _ = protein_rows(empty, columns, n_cells=0, n_proteins=4, allow_non_integer=False)
    assert values.shape == (0, 4)


TEXT, INTEGER = CategoricalField("batch", ("b2", "b0")), CategoricalField("batch", (1, 2))
FLOAT, BOOL = CategoricalField("batch", (0.5, 1.0)), CategoricalField("batch", (False, True))


@pytest.mark.parametrize(
    ("field", "label", "code"),
    [
        (TEXT, "b0", 1),
        (INTEGER, 1, 0),
        (INTEGER, 1.0, 0),
        (FLOAT, 1, 1),
        (FLOAT, 0.5, 0),
        (BOOL, True, 1),
        (BOOL, False, 0),
    ],
)
def test_labels_match_by_type_and_value(field: CategoricalField, label: Any, code: int) -> None:
    assert category_codes(Labels.one(label), field, 3, "batch").tolist() == [code] * 3
    assert category_codes(Labels.per_cell([label]), field, 1, "batch").tolist() == [code]


@pytest.mark.parametrize(
    ("field", "label"),
    [
        (TEXT, "B0"),
        (TEXT, ""),
        (TEXT, 0),
        (INTEGER, "1"),
        (INTEGER, True),
        (INTEGER, 0),
        (INTEGER, 1.5),
        (BOOL, 1),
        (BOOL, "True"),
        (FLOAT, True),
    ],
)
def test_labels_that_are_not_the_models_are_refused_with_the_allowed_ones(field: CategoricalField, label: Any) -> None:
    """DOMAIN 9.7: 0, False and "" unknown to the model; "1" against 1."""
    known = field.categories[0]
    with pytest.raises(ServiceError) as caught:
        category_codes(Labels.per_cell([known, known, label, label]), field, 4, "batch")
    assert (caught.value.field, caught.value.index, caught.value.counts) == ("batch", 2, {"offenders": 2})
    assert f"allowed: {', '.join(map(repr, field.categories))}" in caught.value.detail


def test_mixed_labels_keep_their_types() -> None:
    field = CategoricalField("batch", ("1", 1))
    assert category_codes(Labels.per_cell(["1", 1, 1.0]), field, 3, "batch").tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [
        (None, "the model needs batch, one of 'b2', 'b0'"),
        (Labels.per_cell(["b0"]), "1 labels for 2 cells"),
        (Labels(("b0", "b2")), "no codes"),
        (Labels(("b0",), np.array([0, 1])), "code outside"),
        (Labels(("b0",), np.array([0, -1])), "code outside"),
        (Labels(()), "no codes"),
    ],
)
def test_labels_that_do_not_fit_the_cells_are_refused(labels: Labels | None, fragment: str) -> None:
    with pytest.raises(ServiceError, match=fragment):
        category_codes(labels, TEXT, 2, "batch")


def test_many_allowed_labels_are_cut_short() -> None:
    field = CategoricalField("batch", tuple(f"b{i}" for i in range(500)))
    with pytest.raises(ServiceError, match="and 480 more"):
        category_codes(None, field, 1, "batch")


def test_unused_unknown_categories_do_no_harm() -> None:
    labels = Labels(("b0", "never used"), np.array([0, 0]))
    assert category_codes(labels, TEXT, 2, "batch").tolist() == [1, 1]


def test_continuous_covariates_are_one_number_or_one_per_cell() -> None:
    assert continuous_column(np.array(0.5), "age", 3).tolist() == [0.5, 0.5, 0.5]
    assert continuous_column(np.array([1, 2]), "age", 2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("values", "fragment"),
    [
        (None, "the model needs continuous_covariates.age"),
        (np.array([1.0]), "1 numbers for 2 cells"),
        (np.array([[1.0, 2.0]]), "2 numbers for 2 cells"),
        (np.array([1.0, np.nan]), "not finite"),
        (np.array(1e300), "not finite"),
    ],
)
def test_continuous_covariates_that_do_not_fit_are_refused(values: Any, fragment: str) -> None:
    with pytest.raises(ServiceError, match=fragment) as caught:
        continuous_column(values, "age", 2)
    assert caught.value.field == "continuous_covariates.age"


INDEX_TYPES = [np.uint16, np.int32, np.int64, np.uint32]
VALUE_TYPES = [np.uint8, np.int32, np.float32, np.float64, np.bool_]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_clean_rows_are_what_the_long_way_gives(data: st.DataObject) -> None:
    """The short way takes what needs nothing done, and nothing else."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    n_model = 12
    n_columns = int(rng.integers(1, n_model + 1))
    targets = np.sort(rng.choice(n_model, n_columns, replace=False)).astype(np.int32)
    dense = rng.poisson(0.7, size=(int(rng.integers(0, 6)), n_columns))
    rows, columns = np.nonzero(dense)
    counts = CsrCounts(
        np.searchsorted(rows, np.arange(len(dense) + 1)).astype(rng.choice(INDEX_TYPES)),
        columns.astype(rng.choice(INDEX_TYPES)),
        dense[rows, columns].astype(rng.choice(VALUE_TYPES)),
        data.draw(st.sampled_from([None, n_columns])),
    )
    for _ in range(data.draw(st.integers(0, 2))):
        part = getattr(counts, data.draw(st.sampled_from(["indptr", "indices", "data"])))
        if part.size:
            wrong = data.draw(st.sampled_from([0, 1, 2, n_columns, 255] + [-1] * (part.dtype.kind in "if")))
            part[int(rng.integers(part.size))] = data.draw(
                st.sampled_from([wrong, 0.5, np.nan, np.inf]) if part.dtype.kind == "f" else st.just(wrong)
            )
    column_map = ColumnMap(n_columns, targets, True, Coverage(n_columns, n_columns, 0, 0, 1.0), ())

    def outcome() -> Any:
        try:
            indptr, indices, values, notices = gene_rows(counts, column_map, n_genes=n_model, allow_non_integer=False)
        except ServiceError as error:
            return error.kind, error.detail, error.field, error.index
        assert (indptr.dtype, indices.dtype, values.dtype) == (np.int32, np.int32, np.float32)
        return indptr.tolist(), indices.tolist(), values.tolist(), notices

    short = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "_clean_rows", lambda *_: None)
        assert outcome() == short


def test_clean_rows_are_not_copied() -> None:
    indptr, indices = np.array([0, 2, 3], dtype=np.int32), np.array([0, 2, 1], dtype=np.int32)
    counts = CsrCounts(indptr, indices, np.array([1, 2, 3], dtype=np.float32))
    column_map = ColumnMap(3, np.arange(3, dtype=np.int32), True, Coverage(3, 3, 0, 0, 1.0), ())
    found = gene_rows(counts, column_map, n_genes=3, allow_non_integer=False)
    assert found[0] is indptr and found[1] is indices and found[2] is counts.data
