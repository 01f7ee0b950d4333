"""Columns are matched by name, and whatever does not fit is told or refused."""

import numpy as np
import pytest

from service.core.alignment import ColumnIndex
from service.core.errors import ErrorKind, ServiceError

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
    assert column_map.in_order and column_map.coverage == 1 and column_map.notices == ()


def test_columns_go_where_their_names_say() -> None:
    column_map = ColumnIndex("gene", SYMBOLS).align(("GNLY", "extra", "CD3E"))
    assert column_map.targets.tolist() == [4, -1, 0]
    assert not column_map.in_order
    assert column_map.coverage == pytest.approx(0.4)
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
    assert len(index._maps) <= 32
    assert np.array_equal(index.align(("LYZ",)).targets, first.targets)


def test_long_and_strange_names_are_shortened_and_escaped() -> None:
    detail = refusal(ColumnIndex("gene", SYMBOLS), ("x" * 10_000, "new\nline")).detail
    assert len(detail) < 400 and "\n" not in detail


def test_no_columns_at_all_are_not_an_overlap_problem() -> None:
    column_map = ColumnIndex("protein", SYMBOLS).align(())
    assert column_map.coverage == 0
    assert column_map.notices[0].count == 5
