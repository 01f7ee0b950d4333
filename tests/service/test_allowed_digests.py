from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import ModelFileError
from service.allowed_digests import MAX_BYTES, read_digests

A, B = "a" * 64, "b" * 64


def test_what_sha256sum_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(f"# checked by hand\n{A}  models/pbmc/1/encoder.pt\n\n{B.upper()}\r\n")
    assert read_digests(path) == {A, B}
    path.write_text("")
    assert read_digests(path) == frozenset()


@pytest.mark.parametrize("text", ["a" * 63, "a" * 65, "g" * 64, f"{A},{B}", f" {A}", "secret", "\x00\xff"])
def test_other_text_is_refused_by_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "allowed"
    path.write_text(f"{B}\n{text}\n")
    with pytest.raises(ModelFileError, match="no sha256 in line 2") as refused:
        read_digests(path)
    assert text not in str(refused.value)


def test_a_list_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"cannot be read \(No such file") as refused:
        read_digests(tmp_path / "allowed")
    assert str(tmp_path) not in str(refused.value)
    with (tmp_path / "allowed").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelFileError, match="is over"):
        read_digests(tmp_path / "allowed")
