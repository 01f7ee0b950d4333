from __future__ import annotations

import numpy as np
import pytest

from totalvi_client import Limits
from totalvi_client.parts import cut, learned

LIMITS = Limits(max_request_bytes=4096 + 1000, max_request_cells=40, max_sample_values=300)


def parts(row_bytes: list[int], limits: Limits = LIMITS, n_samples: int = 0, common_bytes: int = 0) -> list[int]:
    found = cut(np.array(row_bytes, dtype=np.int64), limits, common_bytes=common_bytes, n_samples=n_samples, n_latent=2)
    # They lie side by side and hold every cell.
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == len(row_bytes)
    return [stop - start for start, stop in found]


def test_what_fits_is_one_part() -> None:
    assert parts([25] * 40) == [40]
    assert parts([]) == [0]
    assert parts([10] * 10, n_samples=10) == [10]


def test_beyond_a_limit_parts_are_of_a_quarter_of_it() -> None:
    assert parts([1] * 41) == [10, 10, 10, 10, 1]
    assert parts([26] * 40) == [9, 9, 9, 9, 4]
    assert parts([10] * 11, n_samples=10) == [2, 2, 2, 2, 2, 1]
    assert parts([10] * 30, common_bytes=800) == [5] * 6


def test_a_cell_that_is_too_large_alone_goes_alone() -> None:
    assert parts([5000, 1, 1, 5000, 5000]) == [1, 2, 1, 1]
    assert parts([1] * 3, n_samples=1000) == [1, 1, 1]


@pytest.mark.parametrize(
    ("detail", "changed"),
    [
        ("700 cells are over max_request_cells = 512; split the matrix", {"max_request_cells": 512}),
        ("9 samples of 70 cells are 99 values, over max_sample_values = 98; split", {"max_sample_values": 98}),
        ("the body is larger than max_request_bytes, 1000 bytes, sent or decompressed", {"max_request_bytes": 1000}),
        ("SERVER: Received message larger than max (7000 vs. 6000)", {"max_request_bytes": 6000}),
        ("HTTP status 413 from something that is not the service itself", {"max_request_bytes": 3500}),
    ],
)
def test_a_refusal_tells_its_limit_or_half_of_what_was_sent(detail: str, changed: dict[str, int]) -> None:
    assert learned(Limits(max_samples=3), detail, 7000) == Limits(max_samples=3, **changed)


@pytest.mark.parametrize("detail", ["9 samples are over max_samples = 8", "9 genes are over max_columns = 8"])
def test_what_no_cut_can_keep(detail: str) -> None:
    assert learned(Limits(), detail, 7000) is None
