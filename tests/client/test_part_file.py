"""Finished slices on disk: whatever is cut off or flipped, what is read back is what was written, or nothing."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from totalvi_client import InputError, Notice
from totalvi_client.damage import writing
from totalvi_client.part_file import _MAGIC, PartFile
from totalvi_client.plan import Kept

KEPT = (Kept("z", "obsm", (3,)), Kept("size", "obs", ()))
QUESTION = {"model": ["a", "1"], "choices": {"key": "z", "where": (1, 2)}}
NOTICE = Notice("fractions", "some", 3, ("a", "b"))


def opened(path: Path, question: Any = QUESTION, *, resume: bool = True) -> PartFile:
    return PartFile(path, question, {"seed": 7}, KEPT, resume=resume)


def arrays(first: int, n_cells: int) -> list[Any]:
    values = np.arange(first, first + n_cells, dtype=np.float32)
    return [np.stack([values, -values, values / 7], axis=1), values]


def filled(path: Path) -> list[int]:
    """Sizes of the file after each slice of 4, 4 and 2 cells, the first of them after none."""
    sizes = []
    with opened(path) as part:
        sizes.append(path.stat().st_size)
        for first, n_cells in ((0, 4), (4, 4), (8, 2)):
            part.append(arrays(first, n_cells), (NOTICE,) if first else ())
            sizes.append(path.stat().st_size)
    return sizes


def content(part: PartFile) -> list[Any]:
    return [[first, *(array.tolist() for array in values)] for first, values in part.slices()]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    filled(tmp_path / "x.part")
    with opened(tmp_path / "x.part") as part:
        assert part.done == 10
        assert part.notices == [NOTICE, NOTICE]
        assert part.restarted is None
        assert content(part) == [
            [first, *(array.tolist() for array in arrays(first, n))] for first, n in ((0, 4), (4, 4), (8, 2))
        ]
        # Reading does not lose the place to write at.
        part.append(arrays(10, 1), ())
        assert [first for first, _ in part.slices()] == [0, 4, 8, 10]


def test_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    sizes = filled(path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with opened(path) as part:
            finished = sum(length >= size for size in sizes) - 1
            assert part.done == (0, 0, 4, 8)[max(finished, 0) + (finished >= 0)]
            if 0 < length < sizes[0]:
                assert part.restarted == "what an earlier run left cannot be read"
            part.append(arrays(part.done, 2), ())
            assert content(part)[-1] == [part.done - 2, *(array.tolist() for array in arrays(part.done - 2, 2))]


def test_any_byte_flipped(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    sizes = filled(path)
    whole = path.read_bytes()
    expected = {0: 0, 4: 1, 8: 2, 10: 3}
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
        if position < len(_MAGIC):
            with pytest.raises(InputError, match="no run has left"):
                opened(path)
            continue
        with opened(path) as part:
            # Up to the slice with the flipped byte, and not beyond.
            assert expected[part.done] == max(sum(position >= size for size in sizes) - 1, 0)
            assert len(content(part)) == expected[part.done]


def test_the_slices_of_another_question_are_left_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "x.part", QUESTION | {"model": ["a", "2"], "more": 1, "long": "x" * 99}
    filled(path)
    before = path.read_bytes()
    # Whatever is kept of each cell: slices of another size are slices.
    for kept in (KEPT, KEPT[:1]):
        with pytest.raises(
            InputError,
            match=r"keeps 10 cells .* something else \(another long; model: \['a', '1'\] then, \['a', '2'\] now; "
            r"more: None then, 1 now\): ask the same again .*, or give --restart \(in Python resume=False\)",
        ):
            PartFile(path, other, {"seed": 7}, kept, resume=True)
    assert path.read_bytes() == before
    with opened(path, other, resume=False) as part:
        assert (part.done, part.restarted) == (0, None)


def test_another_question_without_slices_is_nobodys_loss(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    sizes = filled(path)
    # Killed while it wrote its first slice.
    path.write_bytes(path.read_bytes()[: sizes[1] - 1])
    with opened(path, QUESTION | {"more": 1}) as part:
        assert (part.done, part.restarted) == (0, None)


def test_without_a_slice_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    with pytest.raises(ConnectionAbortedError), opened(path):
        raise ConnectionAbortedError
    assert not path.exists()
    with opened(path) as part:
        part.append(arrays(0, 4), ())
        part.remove()
        path.write_bytes(b"of the next run")
    assert path.read_bytes() == b"of the next run"


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Disk(io.FileIO):
        full = False

        def write(self, data: Any) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    path = tmp_path / "x.part"
    disk = Disk(path, "w+b")
    monkeypatch.setattr("totalvi_client.part_file._locked", lambda _: io.BufferedRandom(disk))
    with (
        pytest.raises(InputError, match=r"cannot be written .*No space left on device.*make room"),
        opened(path) as part,
    ):
        part.append(arrays(0, 4), ())
        disk.full = True
        with writing(tmp_path / "x"):
            part.append(arrays(4, 4), ())
    assert disk.closed
    monkeypatch.undo()
    with opened(path) as part:
        assert part.done == 4


def test_facts_of_the_first_run_stay(tmp_path: Path) -> None:
    filled(tmp_path / "x.part")
    with PartFile(tmp_path / "x.part", QUESTION, {"seed": 8}, KEPT, resume=True) as part:
        assert part.facts == {"seed": 7}
    with PartFile(tmp_path / "x.part", QUESTION, {"seed": 8}, KEPT, resume=False) as part:
        assert part.facts == {"seed": 8}
        assert part.done == 0


@pytest.mark.parametrize("resume", [True, False])
def test_a_file_of_somebody_else(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "x.part").write_bytes(b"a letter to my mother")
    with pytest.raises(InputError, match="which no run has left; move it away, or name another result"):
        opened(tmp_path / "x.part", resume=resume)
    assert (tmp_path / "x.part").read_bytes() == b"a letter to my mother"


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    with opened(path) as part:
        with pytest.raises(InputError, match="another run is writing the same result"):
            opened(path)
        part.append(arrays(0, 4), ())
        part.remove()
        # Whoever comes now has a file of its own.
        with opened(path) as other:
            assert other.done == 0
