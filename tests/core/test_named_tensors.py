from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import Limits
from service.core.named_tensors import DTYPES, Declared, declare, from_numbers, from_raw, from_texts, to_raw

LIMITS = Limits(max_columns=100, max_request_cells=50)


def refusal(function: Any, *arguments: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        function(*arguments)
    return refused.value


@pytest.mark.parametrize("datatype", DTYPES)
def test_raw_numbers_are_read_where_they_lie(datatype: str) -> None:
    values = np.arange(6).astype(DTYPES[datatype])
    data = b"x" + values.tobytes()  # from an odd place
    read = from_raw(declare("gene_counts", datatype, [2, 3], LIMITS), memoryview(data)[1:]).values
    assert isinstance(read, np.ndarray)
    assert np.array_equal(read, values.reshape(2, 3))
    assert read.dtype == (np.float32 if datatype == "FP16" else DTYPES[datatype])


def test_texts_in_both_forms() -> None:
    declared = declare("genes", "BYTES", [3], LIMITS)
    texts = ("", "ä", "x" * 300)
    raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    assert from_raw(declared, raw).values == texts
    assert from_texts(declared, [text.encode() for text in texts]).values == texts
    assert from_texts(declared, texts).values == texts


@pytest.mark.parametrize("cut", range(1, 9))
def test_raw_texts_cut_anywhere(cut: int) -> None:
    declared = declare("batch", "BYTES", [2], LIMITS)
    raw = b"\x00\0\0\0\x01\0\0\0a"
    assert from_raw(declared, raw).values == ("", "a")
    assert refusal(from_raw, declared, raw[:-cut]).kind is ErrorKind.MALFORMED


def test_a_text_that_is_none_is_named_by_its_place() -> None:
    error = refusal(from_texts, declare("batch", "BYTES", [2], LIMITS), [b"a", b"\xff"])
    assert (error.kind, error.field, error.index) == (ErrorKind.MALFORMED, "batch", 1)


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [("UINT8", 255, 256), ("INT8", -128, -129), ("INT32", 2**31 - 1, 2**31), ("UINT64", 2**63 - 1, -1)],
)
def test_numbers_of_a_wider_type_must_fit(datatype: str, good: int, bad: int) -> None:
    declared = Declared("gene_counts.data", datatype, (2,))
    fitting = from_numbers(declared, np.array([0, good])).values
    assert isinstance(fitting, np.ndarray)
    assert (fitting.dtype, fitting.tolist()) == (DTYPES[datatype], [0, good])
    error = refusal(from_numbers, declared, np.array([0, bad]))
    assert (error.kind, error.index) == (ErrorKind.MALFORMED, 1)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 256.0, -1.0])
def test_reals_that_are_no_whole_numbers(value: float) -> None:
    error = refusal(from_numbers, Declared("gene_counts.data", "UINT8", (2,)), np.array([1.0, value]))
    assert (error.kind, error.index) == (ErrorKind.MALFORMED, 1)


@pytest.mark.parametrize(
    ("name", "datatype", "shape", "kind"),
    [
        ("other", "FP32", [1, 1], ErrorKind.INVALID),
        ("covariate.", "FP32", [1], ErrorKind.INVALID),
        ("covariate.x", "INT32", [1], ErrorKind.MALFORMED),
        ("gene_counts", "BYTES", [1, 1], ErrorKind.MALFORMED),
        ("gene_counts", "FP32", [1], ErrorKind.MALFORMED),
        ("gene_counts", "FP32", [-1, 1], ErrorKind.MALFORMED),
        ("gene_counts", "FP32", [2**31, 0], ErrorKind.MALFORMED),
        ("gene_counts.indices", "FP32", [1], ErrorKind.MALFORMED),
        ("genes", "BYTES", [101], ErrorKind.TOO_LARGE),
    ],
)
def test_what_is_refused_before_any_value_is_read(name: str, datatype: str, shape: list[int], kind: ErrorKind) -> None:
    assert refusal(declare, name, datatype, shape, LIMITS).kind is kind


def test_a_name_of_any_kind_is_told_in_short() -> None:
    error = refusal(declare, "x\n" * 5000, "FP32", [1], LIMITS)
    assert len(error.detail) < 400 and "\n" not in error.detail
    error = refusal(declare, "covariate." + "x\n" * 5000, "INT8", [1], LIMITS)
    assert len(error.detail) < 400 and "\n" not in error.detail and len(error.field or "") < 100


def test_an_output_is_little_endian_and_row_major() -> None:
    values = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    assert np.frombuffer(to_raw(values), "<f4").tolist() == [0, 1, 2, 3, 4, 5]
