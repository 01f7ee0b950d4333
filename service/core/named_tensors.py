"""The tensors of the Open Inference Protocol that carry cells, whatever transport they come by.

A tensor says its datatype and shape apart from its values; both are checked here, in Python integers, before anything
is made of the values.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.core.alignment import shown_key
from service.core.errors import invalid, malformed, too_large
from service.core.messages import Limits

BYTES: Final = "BYTES"
COVARIATE: Final = "covariate."
"""What stands before a covariate's key in the name of its tensor."""

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""What the protocol's numbers are in numpy, on every wire."""

_INTEGERS = tuple(name for name, dtype in DTYPES.items() if dtype.kind in "iu")
_NUMBERS = tuple(DTYPES)

_TAKEN: Mapping[str, tuple[int, Collection[str]]] = {
    "gene_counts": (2, _NUMBERS),
    "gene_counts.data": (1, _NUMBERS),
    "gene_counts.indices": (1, _INTEGERS),
    "gene_counts.indptr": (1, _INTEGERS),
    "protein_counts": (2, _NUMBERS),
    "genes": (1, (BYTES,)),
    "proteins": (1, (BYTES,)),
    "batch": (1, (BYTES,)),
}
_COVARIATE_TAKEN = (1, (BYTES, "FP32", "FP64"))

# An axis without values costs no bytes, so the bytes bound no axis.
_LONGEST_AXIS = 2**31 - 1
_LENGTH = struct.Struct("<I")


@dataclasses.dataclass(frozen=True, slots=True)
class Declared:
    """What a tensor says of itself, checked.

    Attributes:
        name: of an input that there is.
        datatype: one that the input takes.
        shape: of the rank that the input has.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""
        return DTYPES[self.datatype]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class NamedTensor:
    """A tensor and its values.

    Attributes:
        name: of the input.
        values: numbers in the tensor's shape, or the texts of a vector of BYTES.
    """

    name: str
    values: npt.NDArray[Any] | tuple[str, ...]


def declare(name: str, datatype: str, shape: Sequence[int], limits: Limits) -> Declared:
    """What a tensor says of itself; a shape that bounds no memory, or a list too long to walk, goes no further.

    Raises:
        ServiceError: `INVALID` for an unknown name, `MALFORMED` for a datatype or shape that the input does not take,
            `TOO_LARGE` for a longer list of texts than any limit allows.
    """
    is_covariate = name.startswith(COVARIATE) and name != COVARIATE
    if not is_covariate and name not in _TAKEN:
        invalid(
            f"there is no input {shown_key(name)}; there are {', '.join(_TAKEN)} and {COVARIATE}KEY", field="inputs"
        )
    rank, datatypes = _COVARIATE_TAKEN if is_covariate else _TAKEN[name]
    field = shown_key(name)
    if datatype not in datatypes:
        malformed(f"{field}: the datatype must be one of {', '.join(datatypes)}", field=field)
    if len(shape) != rank:
        malformed(f"{field}: the shape must have {rank} axes, not {len(shape)}", field=field)
    if not all(0 <= length <= _LONGEST_AXIS for length in shape):
        malformed(f"{field}: each axis of the shape must be from 0 to {_LONGEST_AXIS} long", field=field)
    longest = max(limits.max_columns, limits.max_request_cells)
    if datatype == BYTES and shape[0] > longest:
        too_large(
            f"{field} has {shape[0]} elements, over the {longest} of the larger of max_columns and max_request_cells",
            field=field,
        )
    return Declared(name, datatype, tuple(shape))


def from_raw(declared: Declared, data: bytes | memoryview) -> NamedTensor:
    """A tensor from its bytes, little endian and row-major; numbers are a view on them, nothing is copied.

    Raises:
        ServiceError: `MALFORMED`, where the bytes are not as many as datatype and shape make.
    """
    field = shown_key(declared.name)
    if declared.datatype == BYTES:
        return from_texts(declared, tuple(_elements(data, field)))
    n_bytes = declared.size * declared.dtype.itemsize
    if len(data) != n_bytes:
        malformed(f"{field}: shape and datatype make {n_bytes} bytes, but there are {len(data)}", field=field)
    return from_numbers(declared, np.frombuffer(data, declared.dtype))


def from_numbers(declared: Declared, values: npt.NDArray[Any]) -> NamedTensor:
    """A tensor from its numbers: of its own dtype, or as wide as the wire had them.

    Raises:
        ServiceError: `MALFORMED`, where their number is not the shape's, or the datatype cannot hold one of them.
    """
    _check_number(declared, values.size)
    values = narrowed(declared, values)
    if values.dtype == np.float16:
        # It cannot hold the numbers that counts are compared with.
        values = values.astype(np.float32)
    return NamedTensor(declared.name, values.reshape(declared.shape))


def narrowed(declared: Declared, values: npt.NDArray[Any], n_before: int = 0) -> npt.NDArray[Any]:
    """Some of a tensor's numbers in its own dtype; `n_before` of them came before these.

    Raises:
        ServiceError: `MALFORMED`, where the datatype cannot hold one of them.
    """
    dtype = declared.dtype
    if values.dtype == dtype:
        return values
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        outside = (values < bounds.min) | (values > bounds.max)
        if values.dtype.kind == "f":
            outside |= values != np.floor(values)
        if outside.any():
            field, index = shown_key(declared.name), n_before + int(np.argmax(outside))
            malformed(f"{field} holds a number that is no {declared.datatype}", field=field, index=index)
    with np.errstate(over="ignore"):  # infinity is refused by name later
        return values.astype(dtype)


def from_texts(declared: Declared, values: Sequence[str | bytes]) -> NamedTensor:
    """A tensor of BYTES from its elements.

    Raises:
        ServiceError: `MALFORMED`, where their number is not the shape's, or one is not UTF-8.
    """
    field = shown_key(declared.name)
    _check_number(declared, len(values))
    texts = []
    for index, value in enumerate(values):
        try:
            texts.append(value if isinstance(value, str) else str(value, "utf-8"))
        except UnicodeDecodeError:
            malformed(f"{field}: an element is not valid UTF-8", field=field, index=index)
    return NamedTensor(declared.name, tuple(texts))


def to_raw(values: npt.NDArray[np.float32]) -> bytes:
    """The bytes of an output."""
    return values.astype("<f4", copy=False).tobytes()


def _check_number(declared: Declared, given: int) -> None:
    if given != declared.size:
        field = shown_key(declared.name)
        malformed(f"{field}: the shape makes {declared.size} values, but there are {given}", field=field)


def _elements(data: bytes | memoryview, field: str) -> Iterator[bytes]:
    """The elements of raw BYTES: each after its length in 4 bytes."""
    view, at, index = memoryview(data), 0, 0
    while at < len(view):
        start = at + _LENGTH.size
        at = start + (_LENGTH.unpack_from(view, at)[0] if start <= len(view) else 0)
        if max(start, at) > len(view):
            malformed(f"{field}: an element is longer than the bytes that are left", field=field, index=index)
        yield bytes(view[start:at])
        index += 1
