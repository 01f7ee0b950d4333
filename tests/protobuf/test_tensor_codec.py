from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, ServiceError
from service.protobuf.stubs.totalvi_v1_pb2 import Tensor
from service.protobuf.tensor_codec import (
    CODE_DTYPES,
    COUNT_DTYPES,
    DTYPES,
    INDEX_DTYPES,
    REAL_DTYPES,
    decode_tensor,
    encode_tensor,
)

EXTREMES = {
    Tensor.U8: [0, 255],
    Tensor.U16: [0, 2**16 - 1],
    Tensor.U32: [0, 2**32 - 1],
    Tensor.I32: [-(2**31), 2**31 - 1],
    Tensor.I64: [-(2**63), 2**63 - 1],
    Tensor.F32: [-0.0, math.inf],
    Tensor.F64: [5e-324, math.nan],
}
ANY_RANK = range(5)
shapes = st.lists(st.integers(0, 4), max_size=4)


def test_every_dtype_but_the_unspecified_is_known():
    assert set(DTYPES) == set(Tensor.DType.values()) - {Tensor.DTYPE_UNSPECIFIED}


def test_dtypes_by_use_are_those_of_the_contract():
    assert set(COUNT_DTYPES) == set(DTYPES)
    assert set(CODE_DTYPES) == set(DTYPES) - set(REAL_DTYPES)
    assert set(INDEX_DTYPES) == set(CODE_DTYPES) - {Tensor.U8}


@pytest.mark.parametrize("dtype", DTYPES, ids=Tensor.DType.Name)
def test_extremes_survive_in_little_endian(dtype):
    expected = np.array(EXTREMES[dtype], dtype=DTYPES[dtype])
    tensor = Tensor(dtype=dtype, shape=[2], data=expected.tobytes())

    values = decode_tensor(tensor, field="x", dtypes=DTYPES)

    assert values.dtype == DTYPES[dtype]
    assert values.tobytes() == expected.tobytes()
    if dtype != Tensor.U8:
        assert values.dtype.str[0] == "<"


@given(dtype=st.sampled_from(list(DTYPES)), shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_any_shape_comes_back_in_c_order(dtype, shape, seed):
    data = np.random.default_rng(seed).bytes(math.prod(shape) * DTYPES[dtype].itemsize)

    values = decode_tensor(Tensor(dtype=dtype, shape=shape, data=data), field="x", dtypes=DTYPES, ranks=ANY_RANK)

    assert values.shape == tuple(shape)
    assert values.tobytes() == data


@given(shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_float32_survives_from_any_memory_layout(shape, seed):
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)

    for layout in (values, np.asfortranarray(values), values[..., ::-1] if shape else values):
        tensor = Tensor()
        encode_tensor(layout, tensor)
        np.testing.assert_array_equal(decode_tensor(tensor, field="x", dtypes=REAL_DTYPES, ranks=ANY_RANK), layout)


def test_decoding_copies_nothing():
    values = decode_tensor(Tensor(dtype=Tensor.U8, shape=[3], data=b"abc"), field="x", dtypes=DTYPES)

    assert not values.flags.owndata
    assert not values.flags.writeable


@pytest.mark.parametrize(
    ("dtype", "shape", "n_bytes"),
    [
        pytest.param(Tensor.DTYPE_UNSPECIFIED, [1, 1], 4, id="dtype missing"),
        pytest.param(99, [1, 1], 4, id="dtype from the future"),
        pytest.param(Tensor.F64, [1, 1], 8, id="dtype of other fields"),
        pytest.param(Tensor.F32, [], 4, id="rank 0"),
        pytest.param(Tensor.F32, [1], 4, id="rank 1"),
        pytest.param(Tensor.F32, [1, 1, 1], 4, id="rank 3"),
        pytest.param(Tensor.F32, [1] * 100_000, 4, id="rank 100,000"),
        pytest.param(Tensor.F32, [-1, 1], 4, id="negative"),
        pytest.param(Tensor.F32, [-1, -1], 4, id="negative twice"),
        pytest.param(Tensor.F32, [-(2**63), 2], 0, id="most negative"),
        pytest.param(Tensor.F32, [2**31, 1], 4, id="2^31"),
        pytest.param(Tensor.F32, [2**31, 0], 0, id="2^31 of nothing"),
        pytest.param(Tensor.F32, [0, 2**62], 0, id="nothing, overflowing"),
        pytest.param(Tensor.F32, [2**63 - 1, 1], 4, id="2^63"),
        pytest.param(Tensor.F32, [2**32, 2**32], 0, id="product overflows to 0"),
        pytest.param(Tensor.F32, [2**31 - 1, 2**31 - 1], 4, id="product too large"),
        pytest.param(Tensor.F32, [2**30, 2**30], 0, id="bytes overflow to 0"),
        pytest.param(Tensor.F32, [2, 3], 0, id="no data"),
        pytest.param(Tensor.F32, [2, 3], 23, id="one byte short"),
        pytest.param(Tensor.F32, [2, 3], 25, id="one byte long"),
        pytest.param(Tensor.F32, [2, 3], 48, id="data of twice the width"),
        pytest.param(Tensor.F32, [0, 3], 4, id="data for nothing"),
    ],
)
def test_a_malformed_tensor_is_refused_by_name(dtype, shape, n_bytes):
    tensor = Tensor(dtype=dtype, shape=shape, data=bytes(n_bytes))

    with pytest.raises(ServiceError) as refusal:
        decode_tensor(tensor, field="gene_counts", dtypes=[Tensor.F32], ranks=(2,))

    assert refusal.value.kind is ErrorKind.MALFORMED
    assert refusal.value.field == "gene_counts"
    assert refusal.value.detail.startswith("gene_counts: ")


@given(
    dtype=st.integers(-(2**31), 2**31 - 1),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    data=st.binary(max_size=32),
)
def test_no_tensor_is_worse_than_malformed(dtype, shape, data):
    try:
        values = decode_tensor(
            Tensor(dtype=dtype, shape=shape, data=data), field="x", dtypes=COUNT_DTYPES, ranks=ANY_RANK
        )
    except ServiceError as error:
        assert error.kind is ErrorKind.MALFORMED
    else:
        assert values.nbytes == len(data)
