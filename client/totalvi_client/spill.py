"""Entries in the order of their columns, or in none, sorted into blocks of rows on disk: once, in bounded memory.

A file that stores a matrix by columns (CSC), or as a list of entries (Matrix Market), has no rows to read. All its
entries are read once and each is written behind those of its block of rows; a block then is small enough to be sorted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.matrices import check_indptr

BLOCK_BYTES = 48 * 1024 * 1024
MOST_BLOCKS = 256
"""Each is an open file at most."""
ENTRIES_AT_ONCE = 1 << 20

Entries = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
"""Rows, columns and values of some entries."""


class Spilled:
    """A matrix whose entries come in any order, read by rows.

    Args:
        shape: cells, columns.
        entries: begins to read them from the first on; called once, to sort them.
        n_entries: how many there will be.
        dtype: of the values.
        folder: where the sorted entries may lie meanwhile; on disk, not in memory.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        entries: Callable[[], Iterator[Entries]],
        n_entries: int,
        dtype: npt.DTypeLike,
        folder: Path,
    ) -> None:
        self.shape = shape
        self._entries, self._folder = entries, folder
        # Entries of one place add up, which a small integer might not hold.
        value = np.promote_types(dtype, np.uint32) if np.dtype(dtype).kind in "iub" else np.dtype(dtype)
        self._entry = np.dtype([("row", "<u4"), ("column", "<u4"), ("value", value)])
        n_blocks = int(min(MOST_BLOCKS, max(1, -(-n_entries * self._entry.itemsize // BLOCK_BYTES))))
        self._needed_bytes = n_entries * self._entry.itemsize
        self._block_rows = max(1, -(-shape[0] // n_blocks))
        self._blocks: list[Any] | None = None
        self._sorted: tuple[int, Any] | None = None

    def rows(self, start: int, stop: int) -> Any:
        """Those rows."""
        import scipy.sparse  # noqa: PLC0415

        parts = []
        while start < stop:
            number = start // self._block_rows
            first = number * self._block_rows
            end = min(stop, first + self._block_rows)
            parts.append(self._block(number)[start - first : end - first])
            start = end
        if not parts:
            return scipy.sparse.csr_matrix((0, self.shape[1]), dtype=self._entry["value"])
        return parts[0] if len(parts) == 1 else scipy.sparse.vstack(parts, format="csr")

    def _block(self, number: int) -> Any:
        if self._sorted is None or self._sorted[0] != number:
            import scipy.sparse  # noqa: PLC0415

            self._sorted = None
            if self._blocks is None:
                self._blocks = self._sort_into_blocks()
            file = self._blocks[number]
            file.seek(0)
            entries = np.frombuffer(file.read(), dtype=self._entry)
            first = number * self._block_rows
            shape = (min(self._block_rows, self.shape[0] - first), self.shape[1])
            places = (entries["row"] - np.uint32(first), entries["column"])
            # Sorts by row, and by column within each; entries of one place add up.
            self._sorted = number, scipy.sparse.coo_matrix((entries["value"], places), shape=shape).tocsr()
        return self._sorted[1]

    def _sort_into_blocks(self) -> list[Any]:
        self._check_room()
        n_blocks = max(1, -(-self.shape[0] // self._block_rows))
        in_memory = BLOCK_BYTES // n_blocks
        files = [tempfile.SpooledTemporaryFile(in_memory, dir=str(self._folder)) for _ in range(n_blocks)]  # noqa: SIM115
        # They vanish with the matrix, also where the entries turn out to be damaged, and with the process.
        weakref.finalize(self, _close, files)
        for rows, columns, values in self._entries():
            entries = np.empty(len(rows), dtype=self._entry)
            entries["row"], entries["column"], entries["value"] = rows, columns, values
            # Sixteen bits, as numpy sorts those by radix.
            numbers = (rows // self._block_rows).astype(np.uint16)
            if n_blocks > 1 and bool((numbers[1:] < numbers[:-1]).any()):
                order = np.argsort(numbers, kind="stable")
                entries, numbers = entries[order], numbers[order]
            bounds = np.searchsorted(numbers, np.arange(n_blocks + 1))
            for number in range(n_blocks):
                if bounds[number] < bounds[number + 1]:
                    with self._spilling():
                        files[number].write(entries[bounds[number] : bounds[number + 1]].tobytes())
        with self._spilling():
            for file in files:
                file.flush()
        return files

    def _check_room(self) -> None:
        free = shutil.disk_usage(self._folder).free
        # Less than a block stays in memory.
        if self._needed_bytes > max(free, BLOCK_BYTES):
            raise InputError(
                f"{self._folder} has {free / 1e9:.1f} GB left, and about {self._needed_bytes / 1e9:.1f} GB are needed "
                "to sort the counts by cells, which the file does not have in that order; make room there"
            )

    @contextlib.contextmanager
    def _spilling(self) -> Iterator[None]:
        """What goes wrong is the fault of the folder's disk, not of the file that is read."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"the counts cannot be sorted by cells in {self._folder} ({error}); make room there, about "
                f"{self._needed_bytes / 1e9:.1f} GB, and run again"
            ) from error


def _close(files: list[Any]) -> None:
    for file in files:
        # What a full disk did not take is not needed any more.
        with contextlib.suppress(OSError):
            file.close()


def scratch_beside(path: Path) -> Path:
    """Where temporary files of a file's size may lie: beside it, as the system's folder for them may be in memory."""
    return path.parent if os.access(path.parent, os.W_OK) else Path(tempfile.gettempdir())


def stored_csc(group: Any, shape: tuple[int, int], folder: Path) -> Spilled:
    """A matrix in compressed columns in an HDF5 file, read by rows.

    Args:
        group: with `data`, `indices` and `indptr`; one column a gene.
        shape: cells, columns.
        folder: see `Spilled`.
    """
    data, indices = group["data"], group["indices"]
    indptr = np.asarray(group["indptr"][:], dtype=np.int64)
    n_entries = int(min(data.shape[0], indices.shape[0]))
    check_indptr(indptr, shape[1], n_entries, group.name)
    n_entries = int(indptr[-1])

    def entries() -> Iterator[Entries]:
        for start in range(0, n_entries, ENTRIES_AT_ONCE):
            stop = min(start + ENTRIES_AT_ONCE, n_entries)
            first, last = np.searchsorted(indptr, (start, stop - 1), side="right") - 1
            ends = np.clip(indptr[first : last + 2], start, stop)
            columns = np.repeat(np.arange(first, last + 1), np.diff(ends))
            rows = np.asarray(indices[start:stop], dtype=np.int64)
            if rows.size and not 0 <= rows.min() <= rows.max() < shape[0]:
                raise InputError(f"the file is damaged: an entry of {group.name} stands outside of its cells")
            yield rows, columns, data[start:stop]

    return Spilled(shape, entries, n_entries, data.dtype, folder)
