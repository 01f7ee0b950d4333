"""Columns on disk read as rows, in blocks as small as one likes."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.sparse as sp

from totalvi_client import InputError
from totalvi_client.damage import damaged
from totalvi_client.matrices import ArrayMatrix, Columns, StoredCsr, as_csr, as_dense
from totalvi_client.spill import stored_csc

COUNTS = np.random.default_rng(3).poisson(0.4, (97, 31)).astype(np.float32)


@pytest.mark.parametrize("block_bytes", [1, 100, 1000, 1 << 20])
@pytest.mark.parametrize("at_once", [1, 13, 1 << 20])
def test_rows_of_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, at_once: int) -> None:
    monkeypatch.setattr("totalvi_client.spill.BLOCK_BYTES", block_bytes)
    monkeypatch.setattr("totalvi_client.spill.ENTRIES_AT_ONCE", at_once)
    matrix = sp.csc_matrix(COUNTS)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for part in ("data", "indices", "indptr"):
            file[part] = getattr(matrix, part)
        stored = stored_csc(file, COUNTS.shape, tmp_path)
        for start, stop in ((0, 97), (0, 0), (5, 6), (40, 97), (3, 60), (0, 20)):
            rows = stored.rows(start, stop)
            assert rows.dtype == np.float32
            assert rows.has_sorted_indices
            assert np.array_equal(rows.toarray(), COUNTS[start:stop])
    assert [path.name for path in tmp_path.iterdir()] == ["x.h5"]


def columns_in(path: Path) -> Any:
    matrix = sp.csc_matrix(COUNTS)
    file = h5py.File(path, "w")
    for part in ("data", "indices", "indptr"):
        file[part] = getattr(matrix, part)
    return file


@pytest.mark.parametrize("fails", ["write", "flush"])
def test_a_full_disk_is_not_a_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, fails, full)
    with columns_in(tmp_path / "x.h5") as file:
        stored = stored_csc(file, COUNTS.shape, tmp_path)
        with pytest.raises(InputError, match=r"No space left.*make room there") as refusal, damaged(tmp_path / "x.h5"):
            stored.rows(0, 1)
    assert f"sorted by cells in {tmp_path}" in str(refusal.value)


def test_too_little_room_is_seen_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totalvi_client.spill.BLOCK_BYTES", 100)
    needed = 12 * np.count_nonzero(COUNTS)
    for free in (needed - 1, needed):
        monkeypatch.setattr("totalvi_client.spill.shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with columns_in(tmp_path / "x.h5") as file:
            stored = stored_csc(file, COUNTS.shape, tmp_path)
            if free == needed:
                assert np.array_equal(stored.rows(0, 9).toarray(), COUNTS[:9])
                continue
            with pytest.raises(InputError, match=r"GB left, and about .* needed to sort the counts.*make room there"):
                stored.rows(0, 9)


def test_rows_of_everything_else(tmp_path: Path) -> None:
    rows = sp.csr_matrix(COUNTS)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["dense"] = COUNTS
        for part in ("data", "indices", "indptr"):
            file[part] = getattr(rows, part)
        columns = np.array([30, 2, 7])
        for matrix in (
            ArrayMatrix(COUNTS),
            ArrayMatrix(rows),
            ArrayMatrix(sp.coo_array(COUNTS)),
            ArrayMatrix(file["dense"]),
            StoredCsr(file, COUNTS.shape),
        ):
            assert matrix.shape == COUNTS.shape
            assert np.array_equal(as_dense(matrix.rows(9, 33)), COUNTS[9:33])
            assert np.array_equal(as_csr(matrix.rows(9, 33)).toarray(), COUNTS[9:33])
            assert np.array_equal(as_dense(Columns(matrix, columns).rows(9, 33)), COUNTS[9:33][:, columns])


def test_what_is_lazy_is_computed() -> None:
    class Lazy:
        shape = COUNTS.shape

        def __getitem__(self, rows: slice) -> Lazy:
            self.rows = rows
            return self

        def compute(self) -> np.ndarray:
            return COUNTS[self.rows]

    assert np.array_equal(ArrayMatrix(Lazy()).rows(3, 8), COUNTS[3:8])
