from __future__ import annotations

import numpy as np
import pytest

from totalvi_client import Encoding, Library, Normal, Notice, Samples, joined


def part(n_cells: int, start: int = 0, **changes: object) -> Encoding:
    column = np.arange(start, start + n_cells, dtype=np.float32)
    rows = np.stack([column, column + 0.5], axis=1)
    draws = np.stack([rows, rows * 2, rows * 3])
    fields: dict[str, object] = {
        "model": "m",
        "model_version": "1",
        "n_cells": n_cells,
        "cells": tuple(map(str, range(start, start + n_cells))),
        "qz": Normal(rows, rows + 1),
        "ql": Normal(column, column + 1),
        "z": rows,
        "library": Library(column, column + 2),
        "samples": Samples(7, draws, draws[:, :, 0], draws + 1, draws[:, :, 1]),
        "request_id": f"id-{start}",
        "timing": {"compute": 1.5},
    }
    return Encoding(**{**fields, **changes})  # type: ignore[arg-type]


def test_parts_make_the_whole() -> None:
    whole, found = part(9), joined([part(2), part(0, 2, cells=None), part(7, 2)])
    assert (found.model, found.model_version, found.n_cells) == ("m", "1", 9)
    assert (found.cells, found.request_id, found.timing) == (whole.cells, "id-0", {"compute": 4.5})
    pairs = [(found.z, whole.z)]
    for of in (
        lambda e: vars_of(e.qz),
        lambda e: vars_of(e.ql),
        lambda e: vars_of(e.library),
        lambda e: vars_of(e.samples),
    ):
        pairs += list(zip(of(found), of(whole), strict=True))
    assert len(pairs) == 12
    for one, other in pairs:
        np.testing.assert_array_equal(one, other)


def vars_of(value: object) -> list[object]:
    return [getattr(value, name) for name in value.__slots__]  # type: ignore[attr-defined]


def test_what_was_not_asked_for_is_not_there() -> None:
    bare = {name: None for name in ("cells", "qz", "ql", "z", "samples")}
    found = joined([part(1, library=Library(np.ones(1, np.float32)), **bare) for _ in range(2)])
    assert [getattr(found, name) for name in bare] == [None] * 5
    assert found.library is not None
    assert (found.library.observed.tolist(), found.library.latent) == ([1, 1], None)


def test_a_single_part_is_the_whole() -> None:
    one = part(3)
    assert joined([one]) is one


def fractions(count: int, field: str) -> Notice:
    return Notice("non_integer_counts", f"{count} entries of {field} are not whole numbers; …", count)


def test_warnings_are_told_once_and_their_counts_added() -> None:
    of_columns, of_labels = Notice("missing_genes", "2 of …", 2, ("a", "b")), Notice("unused_labels", "x", 1, ("x",))
    first = part(1, warnings=(of_columns, fractions(3, "gene_counts"), fractions(1, "protein_counts")))
    second = part(1, warnings=(of_columns, fractions(4, "gene_counts"), of_labels))
    assert joined([first, second]).warnings == (
        of_columns,
        fractions(7, "gene_counts"),
        fractions(1, "protein_counts"),
        of_labels,
    )


@pytest.mark.parametrize(
    "other", [{"model": "n"}, {"model_version": "2"}, {"z": None}, {"samples": Samples(8, *[np.zeros((3, 1, 2))] * 4)}]
)
def test_parts_that_do_not_belong_together(other: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="parts"):
        joined([part(1), part(1, **other)])
    with pytest.raises(ValueError, match="no parts"):
        joined([])
