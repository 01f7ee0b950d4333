"""Tensors on the wire, to and from numpy."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.core.errors import malformed
from service.protobuf.stubs.totalvi_v1_pb2 import Tensor

DTYPES: Final[Mapping[int, np.dtype[Any]]] = {
    Tensor.U8: np.dtype("u1"),
    Tensor.U16: np.dtype("<u2"),
    Tensor.U32: np.dtype("<u4"),
    Tensor.I32: np.dtype("<i4"),
    Tensor.I64: np.dtype("<i8"),
    Tensor.F32: np.dtype("<f4"),
    Tensor.F64: np.dtype("<f8"),
}
"""What each wire type is in numpy."""

COUNT_DTYPES: Final = tuple(DTYPES)
CODE_DTYPES: Final = (Tensor.U8, Tensor.U16, Tensor.U32, Tensor.I32, Tensor.I64)
INDEX_DTYPES: Final = (Tensor.U16, Tensor.U32, Tensor.I32, Tensor.I64)
REAL_DTYPES: Final = (Tensor.F32, Tensor.F64)

# An axis without values costs no bytes, so the bytes bound no axis: [0, 2**62] would overflow numpy's own product.
_LONGEST_AXIS = 2**31 - 1


def decode_tensor(
    tensor: Tensor, *, field: str, dtypes: Collection[int], ranks: Collection[int] = (1,)
) -> npt.NDArray[Any]:
    """The values of `tensor`: a read-only view on its bytes, nothing is copied.

    Args:
        tensor: as it came.
        field: its name for the caller, as JSON spells it.
        dtypes: the wire types that the field takes.
        ranks: the numbers of axes that the field takes.

    Raises:
        ServiceError: `MALFORMED`, where type, shape or number of bytes are not what the field takes.
    """
    if tensor.dtype not in dtypes:
        names = ", ".join(Tensor.DType.Name(dtype) for dtype in dtypes)
        malformed(f"{field}: the dtype must be one of {names}", field=field)
    shape = tuple(tensor.shape)
    if len(shape) not in ranks:
        expected = " or ".join(map(str, ranks))
        malformed(f"{field}: the shape must have {expected} axes, not {len(shape)}", field=field)
    if not all(0 <= length <= _LONGEST_AXIS for length in shape):
        malformed(f"{field}: each axis of the shape must be from 0 to {_LONGEST_AXIS} long", field=field)
    dtype, data = DTYPES[tensor.dtype], tensor.data
    n_bytes = math.prod(shape) * dtype.itemsize
    if len(data) != n_bytes:
        malformed(f"{field}: shape and dtype make {n_bytes} bytes, but data holds {len(data)}", field=field)
    return np.frombuffer(data, dtype).reshape(shape)


def encode_tensor(values: npt.NDArray[np.float32], into: Tensor) -> None:
    """Write float32 `values`, of any shape and memory layout, into an empty tensor.

    In place, because a message that is built from others copies them, at every level once more.
    """
    into.dtype = Tensor.F32
    into.shape.extend(values.shape)
    into.data = values.astype("<f4", copy=False).tobytes()
