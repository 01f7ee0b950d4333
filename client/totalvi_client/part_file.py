"""What an interrupted run has left: finished slices, and the question that they answer.

A header, then one record for each slice, each with a checksum and appended at once. Whatever the moment at which a run
is killed, the records before the last are whole, and the last is whole or is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.plan import Kept
from totalvi_client.results import Notice

_MAGIC = b"totalvi-part 1\n"
_RECORD = struct.Struct("<QQQQI")
"""First cell, cells, bytes of the values, bytes of the warnings, checksum of both."""
_MOST_HEADER = 1 << 24
_SHOWN = 60
"""Characters of what was asked then and now, up to which a message shows them."""

Arrays = list[npt.NDArray[np.float32]]


class PartFile:
    """The finished slices of a run, in a file of their own beside the one that will be.

    Args:
        path: of it.
        question: what is answered, as JSON; another question is another answer.
        facts: what the run drew for itself; where there are slices already, those of the run that began it are kept.
        kept: what each cell has.
        resume: False: begin anew, whatever slices are there.

    Attributes:
        facts: of the run that began it.
        done: cells that are finished, the first ones.
        notices: warnings of their slices, in order.
        restarted: why what was there could not be used, or None.

    Raises:
        InputError: another run has it, it holds finished slices of another question, or it is none of ours.
    """

    def __init__(
        self, path: Path, question: Mapping[str, Any], facts: Mapping[str, Any], kept: Sequence[Kept], *, resume: bool
    ) -> None:
        self.path = path
        self._kept = kept
        self._cell_bytes = 4 * sum(part.size for part in kept)
        self.facts = dict(facts)
        self.done = 0
        self.notices: list[Notice] = []
        self.restarted: str | None = None
        self._removed = False
        self._file = _locked(path)
        try:
            self._begin(json.loads(json.dumps(question)), resume)
        except BaseException:
            self._close_failed()
            raise

    def _begin(self, question: Mapping[str, Any], resume: bool) -> None:
        first = self._file.read(len(_MAGIC))
        if not _MAGIC.startswith(first):
            raise InputError(
                f"{self.path} is needed to keep what is finished, but there is a file of that name which no run has "
                "left; move it away, or name another result"
            )
        header = _header(self._file) if resume else None
        if header is not None and header.get("question") == question:
            self.facts = header["facts"]
            self._first_record = self._file.tell()
            self._find_records()
            return
        if header is not None:
            self._refuse_if_finished(header, question)
        elif first and resume:
            self.restarted = "what an earlier run left cannot be read"
        self._file.seek(0)
        self._file.truncate()
        line = json.dumps({"question": question, "facts": self.facts, "cell_bytes": self._cell_bytes}).encode()
        self._file.write(_MAGIC + _checked(line))
        self._file.flush()
        self._first_record = self._file.tell()

    def __enter__(self) -> PartFile:
        """Itself; leaving closes it, and it stays."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close it; without a slice there is nothing to keep."""
        if not self.done and not self._removed:
            self.remove()
        if kind is None:
            self._file.close()
        else:
            self._close_failed()

    def _close_failed(self) -> None:
        # Closing writes what a full disk did not take; its error is not to stand before the one that tells what to do.
        with contextlib.suppress(OSError):
            self._file.close()

    def append(self, arrays: Arrays, notices: Sequence[Notice]) -> None:
        """Add the next slice.

        Args:
            arrays: as `kept` says, each [cells, ...].
            notices: of the slice.
        """
        n_cells = len(arrays[0])
        values = b"".join(np.ascontiguousarray(array, dtype="<f4").tobytes() for array in arrays)
        told = json.dumps([[n.code, n.detail, n.count, list(n.examples)] for n in notices]).encode()
        checksum = zlib.crc32(told, zlib.crc32(values))
        self._file.write(_RECORD.pack(self.done, n_cells, len(values), len(told), checksum) + values + told)
        self._file.flush()
        self.done += n_cells
        self.notices += notices

    def slices(self) -> Iterator[tuple[int, Arrays]]:
        """First cell and values of each finished slice, in order."""
        self._file.seek(self._first_record)
        done = 0
        while done < self.done:
            record = self._record()
            if record is None or record[0] != done:
                raise InputError(f"{self.path} was changed by somebody else while it was read; delete it and run again")
            _, n_cells, values, _ = record
            yield done, self._split(values, n_cells)
            done += n_cells
        self._file.seek(0, os.SEEK_END)

    def remove(self) -> None:
        """Delete it: the result is in its place, or its slices are of no use."""
        # Once: what has its name afterwards is another run's.
        self._removed = True
        self.path.unlink(missing_ok=True)

    def _split(self, values: bytes, n_cells: int) -> Arrays:
        arrays, start = [], 0
        for part in self._kept:
            size = 4 * part.size * n_cells
            array = np.frombuffer(values[start : start + size], dtype="<f4").astype(np.float32, copy=False)
            arrays.append(array.reshape(n_cells, *part.shape))
            start += size
        return arrays

    def _refuse_if_finished(self, header: Mapping[str, Any], question: Mapping[str, Any]) -> None:
        """Leave the slices of another question alone; they may be the work of a night."""
        done, cell_bytes = 0, self._cell_bytes
        self._cell_bytes = header.get("cell_bytes", cell_bytes)
        while (record := self._record()) is not None and record[0] == done:
            done += record[1]
        self._cell_bytes = cell_bytes
        if done:
            difference = _difference(header.get("question", {}), question)
            raise InputError(
                f"{self.path} keeps {done:,} cells that an earlier run has finished, but it was asked something else "
                f"({difference}): ask the same again to go on there, or give --restart (in Python resume=False) to "
                "forget them and begin anew"
            )

    def _find_records(self) -> None:
        end = self._file.tell()
        while (record := self._record()) is not None and record[0] == self.done:
            _, n_cells, _, told = record
            self.done += n_cells
            self.notices += [Notice(code, detail, count, tuple(some)) for code, detail, count, some in json.loads(told)]
            end = self._file.tell()
        # What follows was being written when the run ended.
        self._file.seek(end)
        self._file.truncate()

    def _record(self) -> tuple[int, int, bytes, bytes] | None:
        head = self._file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            return None
        first, n_cells, n_values, n_told, checksum = _RECORD.unpack(head)
        left = os.fstat(self._file.fileno()).st_size - self._file.tell()
        if not n_cells or n_values != n_cells * self._cell_bytes or n_values + n_told > left:
            return None
        values, told = self._file.read(n_values), self._file.read(n_told)
        if zlib.crc32(told, zlib.crc32(values)) != checksum:
            return None
        return first, n_cells, values, told


def _locked(path: Path) -> BinaryIO:
    while True:
        file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")  # noqa: SIM115
        try:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            return file
        except BlockingIOError as error:
            file.close()
            raise InputError(
                f"another run is writing the same result ({path} is in use); wait for it, or name another file"
            ) from error
        except OSError:
            # The file system knows no locks.
            return file
        # A run that has just ended may have deleted what was opened here.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()


def _checked(line: bytes) -> bytes:
    return struct.pack("<Q", len(line)) + hashlib.sha256(line).digest() + line


def _header(file: BinaryIO) -> dict[str, Any] | None:
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        return None
    head = file.read(8 + 32)
    if len(head) < 40:
        return None
    (length,) = struct.unpack("<Q", head[:8])
    line = file.read(length) if length <= _MOST_HEADER else b""
    if len(line) != length or hashlib.sha256(line).digest() != head[8:]:
        return None
    header: dict[str, Any] = json.loads(line)
    return header


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is another, and where that is short what it was and is."""
    told = []
    for key in sorted(before.keys() | now.keys()):
        was, has = before.get(key), now.get(key)
        if was != has:
            values = f": {was} then, {has} now" if len(f"{was}{has}") <= _SHOWN else ""
            told.append(f"{key}{values}" if values else f"another {key}")
    return "; ".join(told)
