"""Columns are matched by name, and whatever does not fit is told or refused."""

import numpy as np
import pytest

from service.core.alignment import ColumnIndex
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Coverage

SYMBOLS = ("CD3E", "MS4A1", "LYZ", "NKG7", "GNLY")
ENSEMBL = tuple(f"ENSG{i:011d}" for i in range(5))


def refusal(index: ColumnIndex, names: tuple[str, ...]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        index.align(names)
    assert caught.value.kind is ErrorKind.INVALID
    return caught.value


def test_no_names_stand_for_the_models_own() -> None:
    column_map = ColumnIndex("gene", SYMBOLS).align(None)
    assert column_map.targets.tolist() == [0, 1, 2, 3, 4]
    assert column_map.in_order and column_map.coverage.coverage == 1 and column_map.notices == ()


def test_columns_go_where_their_names_say() -> None:
    column_map = ColumnIndex("gene", SYMBOLS).align(("GNLY", "extra", "CD3E"))
    assert column_map.targets.tolist() == [4, -1, 0]
    assert not column_map.in_order
    assert column_map.coverage == Coverage(given=3, known=2, missing=3, extra=1, coverage=0.4)
    missing, extra = column_map.notices
    assert (missing.code, missing.count, missing.examples) == ("missing_genes", 3, ("MS4A1", "LYZ", "NKG7"))
    assert "coverage 40.0%" in missing.detail
    assert (extra.code, extra.count, extra.examples) == ("extra_genes", 1, ("extra",))


def test_a_subset_in_model_order_needs_no_sorting() -> None:
    assert ColumnIndex("gene", SYMBOLS).align(("CD3E", "LYZ")).in_order
    assert not ColumnIndex("gene", SYMBOLS).align(("CD3E", "extra", "LYZ")).in_order


def test_a_name_that_repeats_is_refused() -> None:
    error = refusal(ColumnIndex("gene", SYMBOLS), ("CD3E", "LYZ", "CD3E"))
    assert (error.field, error.index) == ("genes", 2)
    assert "'CD3E' occurs more than once" in error.detail


def test_a_model_with_repeated_names_takes_unnamed_columns_only() -> None:
    index = ColumnIndex("protein", ("p", "q", "p"))
    assert index.align(None).n_columns == 3
    assert "leave proteins out" in refusal(index, ("p", "q")).detail


@pytest.mark.parametrize(
    ("model", "request_names", "guess"),
    [
        (SYMBOLS, ENSEMBL, "the request's look like Ensembl ids, the model's like symbols"),
        (ENSEMBL, SYMBOLS, "the model's look like Ensembl ids, the request's like symbols"),
        (ENSEMBL, tuple(f"{name}.3" for name in ENSEMBL), "a version suffix"),
        (tuple(f"{name}.3" for name in ENSEMBL), ENSEMBL, "a version suffix"),
        (SYMBOLS, tuple(name.lower() for name in SYMBOLS), "letter case"),
        (SYMBOLS, ("foo", "bar"), "'CD3E', 'MS4A1'"),
    ],
)
def test_no_overlap_is_refused_with_samples_and_a_guess(
    model: tuple[str, ...], request_names: tuple[str, ...], guess: str
) -> None:
    error = refusal(ColumnIndex("gene", model), request_names)
    assert guess in error.detail
    assert repr(request_names[0]) in error.detail and repr(model[0]) in error.detail
    assert error.counts == {"given": len(request_names), "known": 0}


def test_no_guess_without_a_reason() -> None:
    assert ColumnIndex("gene", SYMBOLS).guess(("foo", "CD3E")) == ""


def test_two_models_with_the_same_genes_in_different_orders_do_not_share_maps() -> None:
    """DOMAIN 9.15."""
    forward, backward = ColumnIndex("gene", SYMBOLS), ColumnIndex("gene", SYMBOLS[::-1])
    names = ("LYZ", "GNLY", "CD3E")
    for _ in range(2):
        assert forward.align(names).targets.tolist() == [2, 4, 0]
        assert backward.align(names).targets.tolist() == [2, 0, 4]


def test_maps_are_remembered_but_not_without_bound() -> None:
    index = ColumnIndex("gene", SYMBOLS)
    first = index.align(("LYZ",))
    assert index.align(("LYZ",)) is first
    for i in range(100):
        index.align(("LYZ", f"extra{i}"))
    again = index.align(("LYZ",))
    assert again is not first, "it was dropped"
    assert np.array_equal(again.targets, first.targets)


@pytest.mark.parametrize("names", [("LYZ", "x" * 3_000_000), ("LYZ", *(f"x{i}" for i in range(100_001)))])
def test_maps_of_absurd_names_are_not_remembered(names: tuple[str, ...]) -> None:
    index = ColumnIndex("gene", SYMBOLS)
    assert index.align(names) is not index.align(names)


def test_long_and_strange_names_are_shortened_and_escaped() -> None:
    detail = refusal(ColumnIndex("gene", SYMBOLS), ("x" * 10_000, "new\nline")).detail
    assert len(detail) < 400 and "\n" not in detail


def test_no_columns_at_all_are_not_an_overlap_problem() -> None:
    column_map = ColumnIndex("protein", SYMBOLS).align(())
    assert column_map.coverage == Coverage(given=0, known=0, missing=5, extra=0, coverage=0.0)
    assert column_map.notices[0].count == 5


@pytest.mark.parametrize(
    "name", ["CD3", "cd3", "CD3-1", "CD3_TotalSeqC", "CD3.1", "anti-CD3", "CD3_prot", "Cd-3", "anti-human-CD3"]
)
def test_near_names_of_proteins_are_suggested_and_never_applied(name: str) -> None:
    column_map = ColumnIndex("protein", ("CD3_TotalSeqB", "CD19_TotalSeqB")).align((name, "CD19_TotalSeqB"))
    assert column_map.targets.tolist() == [-1, 1]
    assert f"{name!r} may be its 'CD3_TotalSeqB': rename them if so" in column_map.notices[1].detail


def test_nothing_is_suggested_for_genes_or_for_other_proteins() -> None:
    for kind, name in (("gene", "CD3"), ("protein", "CD4"), ("protein", "CD31")):
        column_map = ColumnIndex(kind, ("CD3_TotalSeqB", "CD19_TotalSeqB")).align((name, "CD19_TotalSeqB"))
        assert "may be" not in column_map.notices[1].detail
