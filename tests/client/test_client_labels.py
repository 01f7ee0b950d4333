from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from totalvi_client.errors import InputError
from totalvi_client.labels import Labels, read_labels, read_names, read_numbers


def per_cell(labels: Labels) -> list[object]:
    assert labels.codes is not None
    return [labels.categories[code] for code in labels.codes]


@pytest.mark.parametrize(
    "given", ["b", np.str_("b"), 1, np.int64(1), np.array(1), 1.5, np.float32(1.5), True, np.bool_(1)]
)
def test_one_label_for_all_keeps_its_type(given: object) -> None:
    labels = read_labels(given, "batch", 3)
    value = given.item() if isinstance(given, (np.generic, np.ndarray)) else given
    assert labels.codes is None
    assert [(type(label), label) for label in labels.categories] == [(type(value), value)]


@pytest.mark.parametrize(
    "given",
    [
        ["b", "a", "b"],
        ("b", "a", "b"),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], dtype=object),
        pd.Series(["b", "a", "b"], index=[5, 5, 6]),
        pd.Series(["b", "a", "b"], dtype="string"),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Categorical(["b", "a", "b"], categories=["z", "b", "a"]),
        pd.CategoricalIndex(["b", "a", "b"]),
        pd.Index(["b", "a", "b"]),
    ],
    ids=lambda given: type(given).__name__,
)
def test_labels_of_each_cell(given: object) -> None:
    labels = read_labels(given, "batch", 3)
    assert per_cell(labels) == ["b", "a", "b"]
    assert {type(label) for label in labels.categories} == {str}
    # Unused categories are nobody's.
    assert sorted(labels.categories) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (np.array([3, 1, 3]), int),
        (pd.Series([3, 1, 3]), int),
        (pd.Series([3, 1, 3], dtype="Int64"), int),
        (pd.Series([3, 1, 3], dtype="category"), int),
        (np.array([3.0, 1.0, 3.0]), float),
        ([np.int32(3), np.int32(1), np.int32(3)], int),
    ],
)
def test_numbers_stay_numbers(given: object, kind: type) -> None:
    labels = read_labels(given, "lane", 3)
    assert per_cell(labels) == [3, 1, 3]
    assert {type(label) for label in labels.categories} == {kind}


def test_labels_of_different_types_stay_different() -> None:
    labels = read_labels([1, "1", True, 1.0], "x", 4)
    assert [(type(label), label) for label in per_cell(labels)] == [(int, 1), (str, "1"), (bool, True), (float, 1.0)]


def test_some_of_the_cells_have_some_of_the_labels() -> None:
    part = read_labels(list("abcabc"), "x", 6).rows(1, 3)
    assert (part.categories, per_cell(part)) == (("b", "c"), ["b", "c"])
    assert read_labels("a", "x", 6).rows(1, 3).categories == ("a",)


@pytest.mark.parametrize(
    "given",
    [
        ["a", None],
        ["a", float("nan")],
        np.array(["a", np.nan], dtype=object),
        np.array([1.0, np.nan]),
        pd.Series(["a", None], dtype="category"),
        pd.Series(["a", None], dtype="string"),
        pd.Series([1, None], dtype="Int64"),
        pd.Series([pd.Timestamp(0), pd.NaT], dtype=object)[::-1].to_list()[::-1][1:] * 2,
    ],
)
def test_a_missing_label_is_told(given: object) -> None:
    with pytest.raises(InputError, match=r"batch of cell [01] is missing \(NaN\)"):
        read_labels(given, "batch", 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "b"], "batch has 2 labels for 3 cells"),
        (pd.Series(["a"], dtype="category"), "batch has 1 labels for 3 cells"),
        ([b"a", b"a", b"a"], "not bytes"),
        (b"a", "not bytes"),
        (2**63, "beyond 64 bits"),
        (None, r"batch is missing \(NaN\)"),
        ([["a"], ["b"], ["c"]], "not list"),
    ],
)
def test_what_are_no_labels(given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(given, "batch", 3)


@pytest.mark.parametrize(
    ("given", "dtype", "shape"),
    [
        (1, "f8", ()),
        (0.5, "f8", ()),
        (np.float32(0.5), "f4", ()),
        ([1, 2], "f8", (2,)),
        (np.array([1, 2], np.float32), "f4", (2,)),
        (pd.Series([1.0, 2.0]), "f8", (2,)),
        (pd.Series([1, 2], dtype="Int64"), "f8", (2,)),
        # Not finite: the server says so, with the cell.
        ([1.0, np.nan], "f8", (2,)),
        ([1.0, None], "f8", (2,)),
    ],
)
def test_numbers_of_cells(given: object, dtype: str, shape: tuple[int, ...]) -> None:
    values = read_numbers(given, "age", 2)
    assert (values.dtype, values.shape) == (np.dtype(dtype), shape)


@pytest.mark.parametrize("given", [[1, 2, 3], ["a", "b"], [[1], [2]], [1, object()]])
def test_what_are_no_numbers_of_cells(given: object) -> None:
    with pytest.raises(InputError, match="age"):
        read_numbers(given, "age", 2)


def test_names() -> None:
    assert read_names(pd.Index(["a", "b"]), "genes") == ("a", "b")
    assert read_names(np.array(["a", "b"]), "genes") == ("a", "b")
    assert read_names(range(2), "proteins") == ("0", "1")
    assert [type(name) for name in read_names(np.array(["a"]), "genes")] == [str]
    with pytest.raises(InputError, match="not one text"):
        read_names("CD3E", "genes")
    with pytest.raises(InputError, match="genes must be text; number 1 is float nan"):
        read_names(["a", float("nan")], "genes")
