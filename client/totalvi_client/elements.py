"""Pieces of an h5ad file, read and written as anndata does, beside what is there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def write_element(group: Any, key: str, value: Any) -> None:
    """Write something unstructured, in the place of what was there."""
    try:
        from anndata.io import write_elem  # noqa: PLC0415
    except ImportError:
        from anndata.experimental import write_elem  # noqa: PLC0415

    write_elem(group, key, value)


def read_element(node: Any) -> Any:
    """Read a piece of an h5ad file."""
    try:
        from anndata.io import read_elem  # noqa: PLC0415
    except ImportError:
        from anndata.experimental import read_elem  # noqa: PLC0415

    return read_elem(node)


def section(group: Any, name: str) -> Any:
    """A group of an AnnData, made where it is not there."""
    if name not in group:
        made = group.create_group(name)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "dict", "0.1.0"
    return group[name]


def empty_array(group: Any, name: str, shape: tuple[int, ...]) -> Any:
    """An array of float32 to be filled, in the place of what was there."""
    if name in group:
        del group[name]
    array = group.create_dataset(name, shape=shape, dtype="<f4", track_times=False)
    array.attrs["encoding-type"], array.attrs["encoding-version"] = "array", "0.2.0"
    return array


def empty_column(frame: Any, name: str, n_rows: int) -> Any:
    """A column of float32 of a data frame, to be filled."""
    import h5py  # noqa: PLC0415

    there = frame.attrs.get("column-order")
    if there is None:
        there = [key for key in frame if key not in (name, "_index", "index", "__categories")]
    before = [text.decode() if isinstance(text, bytes) else str(text) for text in there]
    order = [*(text for text in before if text != name), name]
    column = empty_array(frame, name, (n_rows,))
    frame.attrs["column-order"] = np.asarray(order, dtype=h5py.string_dtype())
    return column


def drop(holder: Any, name: str) -> None:
    """Remove an array, or a column of a data frame."""
    import h5py  # noqa: PLC0415

    del holder[name]
    order = holder.attrs.get("column-order")
    if order is not None:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in order]
        holder.attrs["column-order"] = np.asarray([text for text in texts if text != name], dtype=h5py.string_dtype())


def storable(value: Any) -> Any:
    """Plain values as anndata writes and reads them back: lists become arrays of text."""
    if isinstance(value, Mapping):
        return {key: storable(part) for key, part in value.items()}
    if isinstance(value, list):
        return np.asarray(value, dtype=object) if value else np.asarray([], dtype=object)
    return value


class CsrWriter:
    """A sparse matrix that is written some rows at a time.

    Args:
        group: of the AnnData.
        name: of the matrix in it.
        shape: cells, columns.
        dtype: of the values.
    """

    def __init__(self, group: Any, name: str, shape: tuple[int, int], dtype: Any) -> None:
        if name in group:
            del group[name]
        made = group.create_group(name)
        made.attrs["encoding-type"], made.attrs["encoding-version"] = "csr_matrix", "0.1.0"
        made.attrs["shape"] = np.asarray(shape, dtype=np.int64)
        how = {"maxshape": (None,), "chunks": (1 << 16,), "compression": "gzip", "compression_opts": 1}
        self._data = made.create_dataset("data", shape=(0,), dtype=dtype, track_times=False, **how)
        self._indices = made.create_dataset("indices", shape=(0,), dtype=np.int32, track_times=False, **how)
        self._indptr = made.create_dataset("indptr", shape=(shape[0] + 1,), dtype=np.int64, track_times=False)
        self._indptr[0] = 0
        self._rows = self._entries = 0

    def append(self, block: Any) -> None:
        """Write the next rows, a scipy CSR matrix."""
        stop = self._entries + int(block.indptr[-1])
        for dataset, values in ((self._data, block.data), (self._indices, block.indices)):
            dataset.resize((stop,))
            dataset[self._entries : stop] = values[: stop - self._entries]
        self._indptr[self._rows + 1 : self._rows + 1 + block.shape[0]] = self._entries + block.indptr[1:]
        self._rows += block.shape[0]
        self._entries = stop
