"""Plain lists are read as a parser reads them, and all others not at all."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.rest.plain_numbers import PlainRows, plain_rows, plain_vector

counts = st.one_of(st.sampled_from([0, 0, 0, 1, 9, 10, 99]), st.integers(0, 99_999_999))
separators = st.sampled_from([(",", ":"), (", ", ":")])


def spelt(values: object, separators: tuple[str, str] = (",", ":")) -> bytes:
    return json.dumps(values, separators=separators)[1:-1].encode()


@settings(deadline=None)
@given(st.lists(counts, min_size=1, max_size=60), separators)
def test_a_vector(values: list[int], separators: tuple[str, str]) -> None:
    read = plain_vector(spelt(values, separators))
    assert read is not None
    assert read.dtype == np.uint32
    assert read.tolist() == values


@settings(deadline=None)
@given(
    st.integers(1, 9).flatmap(lambda w: st.lists(st.lists(counts, min_size=w, max_size=w), min_size=1, max_size=9)),
    separators,
)
def test_rows(matrix: list[list[int]], separators: tuple[str, str]) -> None:
    text, shape = spelt(matrix, separators), (len(matrix), len(matrix[0]))
    dense, sparse = (plain_rows(text, sparse=sparse) for sparse in (False, True))
    assert dense is not None
    assert sparse is not None
    assert (dense.n_rows, dense.width) == (sparse.n_rows, sparse.width) == shape
    assert dense.places is None
    assert dense.values.reshape(shape).tolist() == matrix
    assert sparse.places is not None
    assert (sparse.values != 0).all()
    filled = np.zeros(shape, dtype=np.uint32)
    filled.reshape(-1)[sparse.places] = sparse.values
    assert filled.tolist() == matrix


NO_VECTORS = (
    "|,|1,|,1|1,,2|1 2|1, 2 3|1 ,2|1,  2|1,\t2|01|1,00|1,007|-1|-0|1.0|1e3|true|null|NaN|123456789|1,2000000000"
    '|[1]|1]|[1|1,[2]|1],[2|"1"|{}|1:2|1,2\x00|1,\N{VULGAR FRACTION ONE HALF}|1/2|1;2'
)
NO_ROWS = (
    "|1,2|[]|[],[]|[1],[]|[],[1]|[1,2],[3]|[1],[2,3]|[1],2|1,[2]|[1][2]|[1],,[2]|[1],[2],|,[1]|[[1]]|[[1],[2]]"
    "|[1],[[2]]|[1]],[[2]|]1[|[1],]2[|[1,],[2]|[,1],[2,3]|[1,2],[3 4]|[1],[2.0]|[1],[-2]|[1] ,[2]|[1],[02]"
    "|[1],[123456789]|[1],null|[1,2],[3,4],[5,6|1,2],[3,4]|[1,2,[3],4]"
)


@pytest.mark.parametrize("text", NO_VECTORS.split("|"))
def test_what_is_no_plain_vector_is_not_read(text: str) -> None:
    assert plain_vector(text.encode()) is None


@pytest.mark.parametrize("text", NO_ROWS.split("|"))
@pytest.mark.parametrize("sparse", [False, True])
def test_what_are_no_plain_rows_are_not_read(text: str, sparse: bool) -> None:
    assert plain_rows(text.encode(), sparse=sparse) is None


@settings(deadline=None, max_examples=500)
@given(st.text("0123,,[] .-e", max_size=24))
def test_nothing_is_read_otherwise_than_json_is(text: str) -> None:
    vector, rows = plain_vector(text.encode()), plain_rows(text.encode(), sparse=False)
    if vector is not None:
        assert json.loads(f"[{text}]") == vector.tolist()
    if rows is not None:
        assert json.loads(f"[{text}]") == as_lists(rows)


def as_lists(rows: PlainRows) -> list[list[int]]:
    return rows.values.reshape(rows.n_rows, rows.width).tolist()


def test_blanks_far_behind_are_not_taken_for_digits() -> None:
    values = list(range(300))
    text = spelt(values)
    assert plain_vector(text + b", 300") is None
    assert plain_vector(text.replace(b",", b", ") + b",30 0") is None
